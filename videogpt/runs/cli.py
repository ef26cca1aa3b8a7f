"""`videogpt fit|validate|test`: Lightning's command line, with what is wrong in it mended.

    videogpt fit --config configs/tokenizer/tiny.yaml --trainer.max_steps 2000

Model and data are chosen by `model.class_path` and `data.class_path`. `trainer.default_root_dir` is the run's
folder; what is in it, and what is resumed when, says `videogpt.runs.folder`. In short: flags and YAML decide,
never a checkpoint; every difference between them is said; a run is never begun afresh, nor overwritten, in
silence; a start that fails leaves nothing behind; checkpoints are never unpickled.
"""

import logging
import re
import textwrap
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from videogpt.console.messages import say, warnings_as_lines
from videogpt.runs.checkpoint import RandomState, RunCheckpoint, StopBetweenSteps
from videogpt.runs.config_errors import check_config_files, plain
from videogpt.runs.finite_loss import FiniteLoss
from videogpt.runs.first_step import BeginRun, RunLogger
from videogpt.runs.folder import (
    Resume,
    choose_start,
    choose_weights,
    differences,
    find_last,
    read_checkpoint,
    stored_data,
)
from videogpt.runs.former_names import with_current_names
from videogpt.runs.keep_pretrained import KeepPretrained, save_pretrained
from videogpt.runs.progress_bar import RunProgress
from videogpt.runs.resumed_settings import ConfiguredOptimizers

TERMINATED = 143


class VideoGPTCLI(LightningCLI):
    """Runs one subcommand, the first of `args`, as it is constructed."""

    def __init__(self, args: list[str]) -> None:
        self._only = args[0]
        self._stop = StopBetweenSteps()
        self._checkpoint: Path | None = None
        self._differences: list[str] = []
        self._stored_settings: dict[str, Any] = {}
        super().__init__(
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, args[0]: {"exit_on_error": False}},
            args=args,
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] - building the other parsers takes a second
        """The one that is run, and those arguments of the trainer's method that are not the user's."""
        return {self._only: LightningCLI.subcommands()[self._only] | {"weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """All subcommands take the same configuration: the `config.yaml` of a run serves them all."""
        parser.add_argument(
            "--resume",
            type=Resume,
            default="auto",
            help="auto: go on from the run's last checkpoint if there is one; must: fail if there is none; "
            "never: fail if there is one (fit only)",
        )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a mistake is a ValueError of one line."""
        check_config_files(args)
        try:
            self.config = parser.parse_args(with_current_names(args))
        except ArgumentError as error:
            raise ValueError(f"{plain(str(error))} (see videogpt {self._only} --help)") from error

    def _parse_ckpt_path(self) -> None:
        """Find the checkpoint. Lightning would also put the settings stored in it in place of the user's."""
        config = self.config[self._only]
        root = config.trainer.default_root_dir
        if self._only == "fit":
            if not root:
                raise ValueError("trainer.default_root_dir is not set: name the run's folder, for example runs/my-run")
            start = choose_start(Path(root), config.resume, config.ckpt_path)
        else:
            start = choose_weights(Path(root) if root else None, config.ckpt_path)
        config.ckpt_path, config.resume = None, "auto"  # of this start, not of the run and its config.yaml
        self._checkpoint = start.checkpoint
        if start.checkpoint is None:
            say(start.reason)
            return
        checkpoint = read_checkpoint(start.checkpoint)
        step = checkpoint.get("global_step", 0)
        say(f"{start.reason}, trained for {step} steps")
        if self._only == "fit" and 0 < config.trainer.max_steps <= step:
            say(f"nothing is left to train: trainer.max_steps is {config.trainer.max_steps}")
        self._stored_settings = checkpoint.get("hyper_parameters", {})
        if self._only == "fit" and start.checkpoint == find_last(Path(root)):
            self._say_data_differences(Path(root))

    def _say_data_differences(self, root: Path) -> None:
        """Say which settings of the data are not those that the run was trained with."""
        configured = yaml.safe_load(self._parser(self._only).dump(self.config[self._only], skip_none=False))
        for line in differences(configured["data"] or {}, stored_data(root), "data."):
            say(line)

    def instantiate_classes(self) -> None:
        """Make model, data and trainer; what they refuse is a ValueError of one line."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ValueError(plain(str(error))) from error

    def after_instantiate_classes(self) -> None:
        """Say which settings of the model are not those that the checkpoint was trained with."""
        self._differences = differences(dict(self.model.hparams), self._stored_settings, "model.")
        for line in self._differences:
            say(line)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the run's callbacks, and with its logger where the user has not chosen another."""
        settings = self._get(self.config_init, "trainer")
        if settings["logger"] in (None, True):
            fit = self._only == "fit" and not settings["fast_dev_run"]
            kwargs["logger"] = RunLogger(settings["default_root_dir"]) if fit else False
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        users = config["callbacks"] or []
        users = users if isinstance(users, list) else [users]
        if self._only != "fit" or config["enable_checkpointing"] is False or _keeps_last(users):
            callbacks = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        if config["enable_progress_bar"] is not False:
            callbacks = [*callbacks, RunProgress()]
        callbacks = [*callbacks, self._stop, RandomState(), ConfiguredOptimizers(), FiniteLoss(), KeepPretrained()]
        if self._only == "fit" and not config["fast_dev_run"]:
            users = [BeginRun(self._parser(self._only), self.config[self._only]), *users]
        return super()._instantiate_trainer({**config, "callbacks": users}, callbacks)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        start = {"ckpt_path": self._checkpoint, "weights_only": True}
        return {**super()._prepare_subcommand_kwargs(subcommand), **start}

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except (RuntimeError, ValueError) as error:
            if not re.search("load(ing|ed) state.dict", str(error)):
                raise
            raise ValueError(self._misfit(str(error))) from error

    def _misfit(self, message: str) -> str:
        """Why the checkpoint cannot be loaded into model or optimizer, from the message that lists all tensors."""
        assert self._checkpoint is not None
        if not self.model.state_dict().keys() & read_checkpoint(self._checkpoint)["state_dict"].keys():
            return f"{self._checkpoint} is of another kind of training: give one of {type(self.model).__name__}"
        first = textwrap.shorten(message.splitlines()[:2][-1], 200)
        what = "; ".join(self._differences) or first
        remedy = "set that back, or train another run: --trainer.default_root_dir"
        return f"{self._checkpoint} does not fit the model: {what}: {remedy}"

    def fit(self, **kwargs: Any) -> None:
        """Train, then write what the model is for into `pretrained/` of the run folder."""
        try:
            self.trainer.fit(**kwargs)
        except SIGTERMException:
            if self._stop.interrupted:
                raise KeyboardInterrupt from None
            say(f"stopped by SIGTERM after step {self.trainer.global_step}; the same command goes on from there")
            raise
        if folder := save_pretrained(self.trainer, self.model):
            say(f"saved {folder}")


def run(args: list[str]) -> int:
    """Run `videogpt fit|validate|test` with the arguments that follow `videogpt`; the exit code.

    Raises:
        ValueError: a mistake of the user's, in the arguments or the configuration.
        KeyboardInterrupt: the user stopped it; a checkpoint has been kept.
    """
    try:
        with warnings_as_lines():
            _quieten()
            VideoGPTCLI(args)
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    except SIGTERMException:
        raise SystemExit(TERMINATED) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes an exit with code 1 of it
            raise KeyboardInterrupt from None
        raise
    return 0


def _keeps_last(callbacks: list[Any]) -> bool:
    """Whether the user has configured a checkpoint callback of his own that can be resumed from."""
    return any(isinstance(callback, RunCheckpoint) or getattr(callback, "save_last", None) for callback in callbacks)


def _quieten() -> None:
    """Leave out what Lightning says beside our own lines, and jsonargparse's notes to Lightning's developers."""
    for name in ("fabric.utilities.seed", "pytorch.utilities.rank_zero", "pytorch.trainer.connectors.signal_connector"):
        logging.getLogger(f"lightning.{name}").addFilter(_is_news)
    warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=r"\s*skip_none parameter was deprecated")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # the averaged ones
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.|jsonargparse\.")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Lightning's tells what ours do not."""
    known = r"Tip:|TPU available|Seed set|Restor|Loaded model weights|`Trainer\.\w+` stopped|SIGTERM|KeyboardInterrupt"
    return not re.search(known, record.getMessage())
