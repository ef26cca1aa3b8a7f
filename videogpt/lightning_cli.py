"""`videogpt fit|validate|test|predict`: Lightning's command line, with what is wrong in it mended.

    videogpt fit --config configs/tokenizer/tiny.yaml --trainer.max_steps 2000

Model and data are chosen by `model.class_path` and `data.class_path`. `trainer.default_root_dir` is the run's
folder; what is in it, and what is resumed when, says `videogpt.run_folder`. In short: flags and YAML decide,
never a checkpoint; every difference between them is said; a run is never begun afresh, nor overwritten, in
silence; checkpoints are never unpickled.
"""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from videogpt.run_checkpoint import RandomState, RunCheckpoint, StopBetweenSteps, remove, replace
from videogpt.run_config import ConfiguredOptimizers, SaveRunConfig
from videogpt.run_folder import PRETRAINED, Resume, choose_start, choose_weights, differences, read_checkpoint
from videogpt.run_progress import RunProgress, say

TERMINATED = 143


class VideoGPTCLI(LightningCLI):
    """Runs one subcommand, the first of `args`, as it is constructed."""

    def __init__(self, args: list[str]) -> None:
        self._only = args[0]
        self._stop = StopBetweenSteps()
        self._checkpoint: Path | None = None
        self._stored_settings: dict[str, Any] = {}
        super().__init__(
            save_config_callback=SaveRunConfig if args[0] == "fit" else None,
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
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ValueError(f"{_gist(str(error))} (see videogpt {self._only} --help)") from error

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

    def after_instantiate_classes(self) -> None:
        """Say which settings of the model are not those that the checkpoint was trained with."""
        for line in differences(dict(self.model.hparams), self._stored_settings, "model."):
            say(line)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the run's callbacks, and with its logger where the user has not chosen another."""
        settings = self._get(self.config_init, "trainer")
        root, quick = settings["default_root_dir"], bool(settings["fast_dev_run"])
        if settings["logger"] in (None, True):
            fit = self._only == "fit" and not quick
            kwargs["logger"] = TensorBoardLogger(root, name="", version="", default_hp_metric=False) if fit else False
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        if self._only != "fit" or config["enable_checkpointing"] is False or _keeps_last(config["callbacks"]):
            callbacks = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        if config["enable_progress_bar"] is not False:
            callbacks = [*callbacks, RunProgress()]
        callbacks = [*callbacks, self._stop, RandomState(), ConfiguredOptimizers()]
        return super()._instantiate_trainer(config, callbacks)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        start = {"ckpt_path": self._checkpoint, "weights_only": True}
        return {**super()._prepare_subcommand_kwargs(subcommand), **start}

    def fit(self, **kwargs: Any) -> None:
        """Train, then write what the model is for into `pretrained/` of the run folder."""
        try:
            self.trainer.fit(**kwargs)
        except SIGTERMException:
            if self._stop.interrupted:
                raise KeyboardInterrupt from None
            raise
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            raise ValueError(f"{self._checkpoint} is of another model than the configured one: {error}") from error
        if self.trainer.is_global_zero and not self._get(self.config, "trainer").fast_dev_run:
            _save_pretrained(self.model, Path(self.trainer.default_root_dir) / PRETRAINED)


def run(args: list[str]) -> int:
    """Run `videogpt fit|validate|test|predict` with the arguments that follow `videogpt`; the exit code.

    Raises:
        ValueError: a mistake of the user's, in the arguments or the configuration.
        KeyboardInterrupt: the user stopped it; a checkpoint has been kept.
    """
    _quieten()
    try:
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


def _keeps_last(callbacks: Any) -> bool:
    """Whether the user has configured a checkpoint callback of his own that can be resumed from."""
    given = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(callback, RunCheckpoint) or getattr(callback, "save_last", None) for callback in given)


def _save_pretrained(model: LightningModule, folder: Path) -> None:
    """Have the model write its folder beside, then move it into place."""
    save = getattr(model, "save_pretrained", None)
    if save is None:
        return
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        save(partial)
        replace(folder, partial)
    finally:
        remove(partial)
    say(f"saved {folder}")


def _gist(message: str) -> str:
    """The line of one of jsonargparse's messages that says what is wrong, with the key it is about.

    Where a type has several subtypes, it explains each in a paragraph, "nothing at all" among them.
    """
    noise = r"Does not validate|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value"
    lines = [line.strip() for line in message.splitlines()]
    return " ".join(re.sub(r"^- ", "", line) for line in lines if not re.match(noise, line))


def _quieten() -> None:
    """Leave out Lightning's advertisements and jsonargparse's notes to Lightning's developers."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_tips)
    warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=r"\s*skip_none parameter was deprecated")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.|jsonargparse\.")


def _no_tips(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
