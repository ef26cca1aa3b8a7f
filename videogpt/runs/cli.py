"""`videogpt fit|validate|test`: Lightning's command line, with other rules for starting and stopping.

    videogpt fit --config configs/tokenizer/tiny.yaml --trainer.max_steps 2000

`model.class_path` and `data.class_path` choose model and data. `trainer.default_root_dir` is the run's folder, see
`folder`. What differs from Lightning:

- Flags and YAML decide, never the settings in a checkpoint; every difference between them is said.
- A run is neither begun afresh nor overwritten in silence, see `resume`.
- A start that fails leaves nothing behind, see `first_step`.
- Checkpoints are never unpickled.
- A mistake of the user's is one line, see `config_errors`.
"""

import logging
import re
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from videogpt.console.messages import say, warnings_as_lines, without_line_breaks
from videogpt.runs.checkpoint import RandomState, RunCheckpoint, StopBetweenSteps, stage_beside
from videogpt.runs.config_errors import check_config_files, one_line
from videogpt.runs.finite_loss import FiniteLoss
from videogpt.runs.first_step import BeginRun, RunLogger
from videogpt.runs.folder import find_last, is_first_process, only_fit_in
from videogpt.runs.former_names import with_current_names
from videogpt.runs.keep_pretrained import KeepPretrained, save_pretrained
from videogpt.runs.progress_bar import RunProgress
from videogpt.runs.resume import (
    Resume,
    check_kind,
    check_writable,
    choose_start,
    choose_weights,
    differences,
    fails_to_restore,
    read_checkpoint,
    read_training,
    stored_data,
)
from videogpt.runs.resumed_settings import ConfiguredOptimizers
from videogpt.runs.trainer_settings import check_settings, check_trainer
from videogpt_tokenizer.files.output import is_disk_full, writing_to

TERMINATED = 143  # exit code after SIGTERM


def run(args: list[str]) -> int:
    """Run the arguments that follow `videogpt`; the exit code.

    ValueError: a mistake of the user's. KeyboardInterrupt: the user stopped it; a checkpoint has been kept.
    """
    try:
        with warnings_as_lines(), _quiet_threads(), ExitStack() as held:
            _quieten()
            _RunCLI(args, held)
    except (MisconfigurationException, ModuleNotFoundError) as error:  # the latter of what was asked for by a setting
        raise ValueError(str(error)) from error
    except SIGTERMException:
        raise SystemExit(TERMINATED) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes an exit with code 1 of it
            raise KeyboardInterrupt from None
        raise
    return 0


class _RunCLI(LightningCLI):
    """Runs one command, the first of `args`, as it is constructed.

    Lightning calls the methods below in this order: build the parser, parse, choose the checkpoint, make model, data
    and trainer, run.
    """

    def __init__(self, args: list[str], held: ExitStack) -> None:
        self._command, self._held = args[0], held
        self._stop = StopBetweenSteps()
        self._checkpoint: Path | None = None
        self._stored: dict[str, Any] = {}  # the checkpoint, as it was when chosen
        self._news: list[str] = []  # to say of it, once it is known to be of the right kind
        self._done = 0  # steps that it has been trained for
        self._differences: list[str] = []  # between these and the settings of the model that is made
        super().__init__(
            save_config_callback=None,  # BeginRun writes it, once a step has succeeded
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, self._command: {"exit_on_error": False}},
            args=args,
            auto_configure_optimizers=False,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] - Lightning's is static
        """Only the command that runs, as the other parsers take a second; and what of it is not for the user to set."""
        return {self._command: LightningCLI.subcommands()[self._command] | {"weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our arguments to every command, so that the `config.yaml` of a run serves them all."""
        parser.add_argument(
            "--resume",
            type=Resume,
            default="auto",
            help="auto: go on from the run's last checkpoint if there is one; must: fail if there is none; "
            "never: fail if there is one (fit only)",
        )
        parser.add_argument(
            "--dry_run",
            "--dry-run",
            type=bool,
            nargs="?",
            const=True,
            default=False,
            help="tell parameters, tokens, FLOPs, memory and time of the run, and begin nothing (fit only)",
        )
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a mistake is a ValueError of one line."""
        check_config_files(args)
        try:
            self.config = parser.parse_args(with_current_names(args))
        except ArgumentError as error:
            raise ValueError(f"{one_line(str(error))} (see videogpt {self._command} --help)") from error

    def _parse_ckpt_path(self) -> None:
        """Choose the checkpoint and say which. Lightning would also put its settings in place of the user's."""
        config, fits = self.config[self._command], self._command == "fit"
        if config.dry_run and not fits:
            raise ValueError(f"dry_run is true, and {self._command} trains nothing: leave it out, or run fit")
        root = Path(config.trainer.default_root_dir) if config.trainer.default_root_dir else None
        if fits:
            if root and not config.trainer.fast_dev_run:
                check_writable(root)
                if is_first_process() and not config.dry_run:  # for the run's other processes, too
                    self._held.enter_context(only_fit_in(root))
            self._checkpoint, reason = choose_start(root, config.resume, config.ckpt_path)
        else:
            self._checkpoint, reason = choose_weights(root, config.ckpt_path)
        config.ckpt_path, config.resume = None, "auto"  # of this start, not of the run and its config.yaml
        if self._checkpoint is None:
            if not config.dry_run:  # which starts nothing
                say(reason)
            return
        self._stored = read_training(self._checkpoint)
        step = self._done = self._stored.get("global_step", 0)
        self._news = [f"{reason}, trained for {step} steps"]
        if fits and 0 < config.trainer.max_steps <= step:
            self._news.append(f"nothing is left to train: trainer.max_steps is {config.trainer.max_steps}")
        if fits and root and self._checkpoint == find_last(root):
            configured = yaml.safe_load(self._parser(self._command).dump(config, skip_none=False))
            self._news += differences(configured["data"] or {}, stored_data(root), "data.")

    def instantiate_classes(self) -> None:
        """Make model, data and trainer; what they refuse is a ValueError of one line."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ValueError(one_line(str(error))) from error

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        """Give the trainer the run's callbacks (`callbacks` holds RunCheckpoint), and its logger if none is chosen."""
        if self._checkpoint is not None:
            settings, kind = dict(self.model.hparams), type(self.model).__name__
            check_kind(self._checkpoint, self._stored, settings, kind, fits=self._command == "fit")
        if hasattr(self.model, "check_precision"):
            self.model.check_precision(config["precision"])
        if self._command == "fit":
            check_settings(config, overfits=not type(self.datamodule).__module__.startswith("videogpt"))
        users = config["callbacks"] or []
        users = users if isinstance(users, list) else [users]
        writes = self._command == "fit" and not config["fast_dev_run"]
        logger = config["logger"]
        if logger in (None, True):
            logger = RunLogger(config["default_root_dir"]) if writes else False
        if self._command != "fit" or config["enable_checkpointing"] is False or _keeps_last(users):
            callbacks = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        if config["enable_progress_bar"] is not False and not any(isinstance(user, ProgressBar) for user in users):
            callbacks = [*callbacks, RunProgress()]
        callbacks = [*callbacks, self._stop, RandomState(), ConfiguredOptimizers(), FiniteLoss(), KeepPretrained()]
        if writes:
            users = [BeginRun(self._parser(self._command), self.config[self._command]), *users]
        try:
            trainer = super()._instantiate_trainer({**config, "logger": logger, "callbacks": users}, callbacks)
        except TypeError as error:  # of a value that fits the type of its setting and nothing else
            raise ValueError(f"trainer: {error}") from error
        check_trainer(trainer)
        stage_beside(trainer)
        return trainer

    def after_instantiate_classes(self) -> None:
        """Say what the checkpoint is, and which settings of the model are not those that it was trained with."""
        self._differences = differences(dict(self.model.hparams), self._stored.get("hyper_parameters", {}), "model.")
        for line in self._news + self._differences:
            say(line)
        self._stored = {}  # its tensors are mapped from the file, which is soon replaced

    def _run_subcommand(self, subcommand: str) -> None:
        """Run; a checkpoint that does not fit is a ValueError of one line, where Lightning's lists every tensor."""
        try:
            super()._run_subcommand(subcommand)
        except OSError as error:
            if is_disk_full(error) and not str(error).startswith("cannot write"):  # such as the logger's: no file named
                with writing_to(Path(self.trainer.default_root_dir), "trainer.default_root_dir"):
                    raise
            raise
        except Exception as error:
            if re.search("conditioned on metric|learning rate finder", str(error)):  # of callbacks that do not suit
                raise ValueError(without_line_breaks(str(error))) from error
            if re.search("load(ing|ed) state.dict", str(error)):
                raise ValueError(self._misfit(str(error))) from error
            no_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
            if not isinstance(error, ValueError) and not no_memory and fails_to_restore(error):
                what = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
                raise ValueError(f"{self._checkpoint} is damaged, or of another version ({what})") from error
            raise

    def _misfit(self, message: str) -> str:
        """Why the checkpoint does not fit the model or its optimizer, from Lightning's message."""
        assert self._checkpoint is not None
        if not self.model.state_dict().keys() & read_checkpoint(self._checkpoint)["state_dict"].keys():
            return f"{self._checkpoint} is of another kind of training: give one of {type(self.model).__name__}"
        what = "; ".join(self._differences) or textwrap.shorten(message.splitlines()[:2][-1], 200)
        remedy = "set that back, or train another run: --trainer.default_root_dir"
        return f"{self._checkpoint} does not fit the model: {what}: {remedy}"

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Start from the chosen checkpoint, without unpickling it."""
        start = {"ckpt_path": self._checkpoint, "weights_only": True}
        return {**super()._prepare_subcommand_kwargs(subcommand), **start}

    def fit(self, **kwargs: Any) -> None:
        """Train, then write `pretrained/` of the run folder; or tell what that would take."""
        if self.config[self._command].dry_run:
            from videogpt.runs.dry_run.dry_run import dry_run

            outlook = dry_run(self.trainer, self.model, self.datamodule, self._done)
            sys.stdout.write(outlook.text() + "\n")
            return
        try:
            self.trainer.fit(**kwargs)
        except SIGTERMException:
            if self._stop.interrupted:
                raise KeyboardInterrupt from None
            say(f"stopped by SIGTERM after step {self.trainer.global_step}; the same command goes on from there")
            raise
        if not self.trainer.global_step:
            say("nothing has been trained: see trainer.max_steps, trainer.max_epochs and trainer.max_time")
        elif folder := save_pretrained(self.trainer, self.model):
            say(f"saved {folder}")


def _keeps_last(callbacks: list[Any]) -> bool:
    """Whether the user has configured a checkpoint callback of his own that can be resumed from."""
    return any(isinstance(callback, RunCheckpoint) or getattr(callback, "save_last", None) for callback in callbacks)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Print no traceback of a thread that could not write: TensorBoard's has the main thread raise the same error."""
    before = threading.excepthook
    threading.excepthook = lambda args: None if is_disk_full(args.exc_value) else before(args)
    try:
        yield
    finally:
        threading.excepthook = before


def _quieten() -> None:
    """Hide Lightning's lines that repeat ours, and warnings that are meant for Lightning's developers."""
    for name in ("fabric.utilities.seed", "pytorch.utilities.rank_zero", "pytorch.trainer.connectors.signal_connector"):
        logging.getLogger(f"lightning.{name}").addFilter(_is_news)
    warnings.filterwarnings("ignore", message=r".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=r"Accessing the data pointer of FakeTensor")  # copied in a dry run
    warnings.filterwarnings("ignore", message=r"\s*skip_none parameter was deprecated")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # the averaged ones
    warnings.filterwarnings("ignore", message=r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.|jsonargparse\.")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Lightning's says more than ours do."""
    known = r"Tip:|TPU available|Seed set|Restor|Loaded model weights|`Trainer\.\w+` stopped|SIGTERM|KeyboardInterrupt"
    return not re.search(known, record.getMessage())
