"""`videogpt fit` and its kin: every defect of Lightning's own command line by a test that fails on it."""

import json
import os
import pickle
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from torch import Tensor, nn

from videogpt.cli import main
from videogpt.runs.finite_loss import FiniteLoss, NotFiniteError
from videogpt_tokenizer.data.loader import ResumableLoader


class Toy(lightning.LightningModule):
    """A linear layer with all that resuming can get wrong: momentum, a schedule, dropout, shuffling."""

    def __init__(
        self,
        dim: int = 4,
        lr: float = 0.1,
        fail_at: int = -1,
        signals: tuple[int, ...] = (),
        poison: bool = False,
        nan_at: int = -1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Dropout(0.2), nn.Linear(dim, 1))
        self.seen: list[int] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen += batch["index"].tolist()
        asked: Any = self.hparams
        if self.global_step == asked.fail_at:
            for number in asked.signals:
                signal.raise_signal(number)  # to this thread: two in a row are never taken for one
            if asked.poison:
                self.net[1].weight.data.fill_(torch.nan)
            if not asked.signals:
                raise RuntimeError("out of memory")
        loss = (self.net(batch["x"]) - 1).square().mean() * (torch.nan if self.global_step == asked.nan_at else 1)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.net(batch["x"]).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_end(self) -> None:
        Toy.latest = self

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir()
        torch.save(self.net.state_dict(), Path(folder) / "net.pt")


class ToyData(lightning.LightningDataModule):
    def __init__(self, dim: int = 4, batch_size: int = 2) -> None:
        super().__init__()
        self.batch_size = batch_size
        values = torch.randn(20, dim, generator=torch.Generator().manual_seed(0))
        self.items: Any = [{"x": value, "index": index} for index, value in enumerate(values)]

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(self.items, batch_size=self.batch_size)

    def val_dataloader(self) -> ResumableLoader:
        return ResumableLoader(self.items, batch_size=5, shuffle=False)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(f"""
model: {{class_path: {Toy.__module__}.Toy, init_args: {{lr: 0.1}}}}
data: {{class_path: {Toy.__module__}.ToyData}}
trainer:
  {{default_root_dir: run, max_steps: 13, accelerator: cpu, log_every_n_steps: 1, num_sanity_val_steps: 0,
   enable_model_summary: false}}
""")


def fit(*arguments: str, command: str = "fit") -> int:
    return main([command, "--config", "config.yaml", *arguments])


def last(root: str = "run") -> dict[str, Any]:
    return torch.load(Path(root) / "checkpoints" / "last.ckpt", weights_only=True)


def weights(root: str = "run") -> Tensor:
    return last(root)["state_dict"]["net.1.weight"]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], error_line: Callable[[], str]) -> Callable[..., str]:
    """Runs a command that the user must have mistaken; the one line that it ends with."""

    def run(*arguments: str, command: str = "fit") -> str:
        capsys.readouterr()
        assert fit(*arguments, command=command) == 2
        line = error_line()
        assert len(line) < 400
        return line

    return run


def test_a_fit_leaves_checkpoint_configuration_events_and_pretrained_in_a_fixed_folder(capsys) -> None:
    assert fit() == 0
    assert last()["global_step"] == 13
    kinds = {path.name.split(".")[0] for path in Path("run").iterdir()}
    assert kinds == {"checkpoints", "config", "events", "hparams", "pretrained"}
    assert [path.name for path in Path("run/checkpoints").iterdir()] == ["last.ckpt"]
    assert yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["max_steps"] == 13
    torch.testing.assert_close(torch.load("run/pretrained/net.pt")["1.weight"], weights())
    said = capsys.readouterr().err
    assert "starting a new run in run" in said and "saved run/pretrained" in said
    assert "fit 13/13 steps" in said and "train/loss" in said and "validation after step 10: val/loss" in said


def test_flags_and_yaml_win_over_the_checkpoint_and_the_difference_is_said(capsys) -> None:
    for _ in range(2):
        fit("--trainer.max_steps=5")
    said = capsys.readouterr().err
    assert "was trained with" not in said and "nothing is left to train" in said
    assert fit("--model.lr=0.3", "--resume=must") == 0
    said = capsys.readouterr().err
    assert "resuming run/checkpoints/last.ckpt, trained for 5 steps" in said
    assert "model.lr is 0.3, the checkpoint was trained with 0.1" in said
    assert last()["hyper_parameters"]["lr"] == 0.3
    group = last()["optimizer_states"][0]["param_groups"][0]  # what the optimizer itself went on with
    assert group["initial_lr"] == 0.3 and group["lr"] == pytest.approx(0.3 * 0.9**13)


def test_how_a_run_was_started_is_not_part_of_its_configuration() -> None:
    fit("--trainer.max_steps=2", "--resume=never")
    fit("--trainer.max_steps=3", "--ckpt_path=last")
    assert {"ckpt_path: null", "resume: auto"} <= set(Path("run/config.yaml").read_text().splitlines())
    assert main(["fit", "--config", "run/config.yaml", "--trainer.max_steps=4"]) == 0
    assert last()["global_step"] == 4


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_resumed_equals_uninterrupted(number: int, code: int, capsys) -> None:
    fit("--trainer.default_root_dir=whole")
    seen, trained = Toy.latest.seen, weights("whole")
    try:
        stopped = fit("--model.fail_at=6", f"--model.signals=[{int(number)}]")
    except SystemExit as stop:
        stopped = stop.code
    assert stopped == code and last()["global_step"] == 7
    said = capsys.readouterr().err
    assert "Received" not in said and ("stopped by SIGTERM after step 7" in said) == (number == signal.SIGTERM)
    assert fit("--resume=must") == 0
    assert Toy.latest.seen == seen[14:]
    torch.testing.assert_close(weights(), trained, rtol=0, atol=0)
    assert last()["lr_schedulers"] == last("whole")["lr_schedulers"]


@pytest.mark.parametrize("first", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "default"])
def test_a_second_ctrl_c_stops_at_once_and_keeps_the_earlier_checkpoint(first: Any) -> None:
    before = signal.signal(signal.SIGINT, first)
    try:
        assert fit("--model.fail_at=6", "--model.signals=[2,2]", "--checkpoint.every_n_train_steps=4") == 130
        assert last()["global_step"] == 4 and signal.getsignal(signal.SIGINT) == first
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_crash_keeps_the_steps_before_it_but_never_weights_that_are_not_finite() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        fit("--model.fail_at=6")
    assert last()["global_step"] == 6
    with pytest.raises(RuntimeError, match="out of memory"):
        fit("--model.fail_at=9", "--model.poison=true")
    assert last()["global_step"] == 6 and bool(weights().isfinite().all())


def test_a_folder_with_other_checkpoints_is_not_taken_for_a_new_run(refused) -> None:
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/checkpoints/step=5.ckpt").touch()
    assert "--ckpt_path" in refused()


def test_a_run_starts_from_a_given_checkpoint(capsys) -> None:
    fit("--trainer.max_steps=3", "--trainer.default_root_dir=first")
    assert fit("--ckpt_path=first/checkpoints/last.ckpt", "--trainer.max_steps=4") == 0
    assert "starting from first/checkpoints/last.ckpt, trained for 3 steps" in capsys.readouterr().err
    assert len(Toy.latest.seen) == 2


def test_validate_takes_the_runs_checkpoint_and_configuration_and_writes_nothing(capsys) -> None:
    fit("--trainer.max_steps=3")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    for _ in range(2):
        assert main(["validate", "--config", "run/config.yaml"]) == 0
    assert "using run/checkpoints/last.ckpt, trained for 3 steps" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_checkpoint_that_needs_unpickling_is_refused(refused) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("hacked",)

    torch.save({"state_dict": {}, "hyper_parameters": {"dim": Evil()}}, "evil.ckpt", pickle_module=pickle)
    for command in ("fit", "validate"):
        assert "could run code" in refused("--ckpt_path=evil.ckpt", command=command) and not Path("hacked").exists()


def test_a_checkpoint_that_does_not_fit_is_one_line_and_stays(refused) -> None:
    """It may not be gone on with, is of another model or of other layers, or damaged."""
    fit("--trainer.max_steps=2")
    checkpoint, path = last(), Path("run/checkpoints/last.ckpt")
    assert "--resume auto" in refused("--resume=never")
    for command in ("fit", "validate"):
        line = refused("--model.dim=6", "--data.dim=6", command=command)
        assert command == "validate" or "model.dim is 6, the checkpoint was trained with 4" in line
    for name, about in (("weight", "Missing key"), ("bias", "another kind of training")):
        checkpoint["state_dict"][f"net.9.{name}"] = checkpoint["state_dict"].pop(f"net.1.{name}")
        torch.save(checkpoint, "other.ckpt")
        assert about in refused("--ckpt_path=other.ckpt", "--trainer.max_steps=3")
    assert last()["global_step"] == 2
    path.write_bytes(path.read_bytes()[:-200])
    assert "truncated" in refused() and path.exists()


@pytest.mark.parametrize(
    "argument, about",
    [
        ("--trainer.max_stps=3", "max_stps"),
        ("--model.nope=1", "'nope'"),
        ("--model.lr=fast", "fast"),
        ("--resume=maybe", "maybe"),
        ("--resume=must", "nothing to resume"),
        ("--ckpt_path=last", "nothing to resume"),
        ("--config=missing.yaml", "missing.yaml"),
        ("--config=typo.yaml", "trainr"),
        ("--trainer.default_root_dir=null", "default_root_dir"),
        ("--trainer.default_root_dir=config.yaml", "it is a file"),
        ("--trainer.default_root_dir=config.yaml/run", "cannot write trainer.default_root_dir config.yaml/run"),
        ("--trainer.default_root_dir=/proc/run", "cannot write trainer.default_root_dir /proc/run"),
        ("--data.class_path=Nope", "Nope does not fit"),
        ("--checkpoint.every_n_train_steps=0", "every_n_train_steps"),
        ("--ckpt_path=missing.ckpt", "missing.ckpt"),
        ("--ckpt_path=.", "is a folder"),
        ("--trainer.precision=8", "precision"),
        ("validate", "no trained weights.*--ckpt_path"),
        ("test", "no trained weights.*--ckpt_path"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(argument: str, about: str, refused) -> None:
    """Of a setting of fit, or in measuring random weights."""
    Path("typo.yaml").write_text("trainr: {max_steps: 3}")
    line = refused(argument) if argument.startswith("--") else refused(command=argument)
    assert re.search(about, line) and not Path("run").exists()


def test_a_users_own_checkpoint_that_can_be_resumed_takes_the_place_of_ours() -> None:
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_last": True}}
    fit(f"--trainer.callbacks+={json.dumps(callback)}", "--trainer.max_steps=12")
    assert {path.name for path in Path("run/checkpoints").iterdir()} == {"epoch=1-step=12.ckpt", "last.ckpt"}


@pytest.mark.parametrize("mistake", ["--data.batch_size=0", "--data.dim=6", "--model.fail_at=0"])
def test_a_start_that_fails_leaves_nothing(mistake: str) -> None:
    """Neither a mistake in the data, nor one that the first step finds."""
    try:
        assert fit(mistake) == 2
    except RuntimeError:
        assert "batch_size" not in mistake
    assert sorted(path.name for path in Path().iterdir()) == ["config.yaml"]


def test_a_resumed_start_that_fails_leaves_the_run_as_it_was() -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}

    fit("--trainer.max_steps=2")
    before = contents()
    assert fit("--data.batch_size=0") == 2
    with pytest.raises(RuntimeError, match="out of memory"):
        fit("--model.fail_at=2", "--model.lr=0.7")
    assert contents() == before


def test_what_is_logged_before_the_first_step_has_succeeded_is_not_lost() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit("--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor", "--trainer.max_steps=3")
    events = EventAccumulator("run").Reload()
    assert [event.step for event in events.Scalars("lr-SGD")] == [0, 1, 2]


def test_a_changed_data_setting_is_said_on_resume(capsys) -> None:
    fit("--trainer.max_steps=3")
    assert fit("--data.batch_size=4", "--trainer.max_steps=4") == 0
    said = capsys.readouterr().err
    assert "data.init_args.batch_size is 4, the checkpoint was trained with 2" in said
    assert "videogpt: warning: the interrupted epoch cannot be finished" in said


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint_before(refused) -> None:
    said = refused("--model.nan_at=6", "--checkpoint.every_n_train_steps=4")
    assert "the loss of step 7 is nan" in said and "run/checkpoints/last.ckpt is from before" in said
    assert last()["global_step"] == 4 and bool(weights().isfinite().all())
    assert fit("--resume=must") == 0 and last()["global_step"] == 13


@pytest.mark.parametrize("together, stopped", [(None, 4), (9, 9)])
def test_the_first_loss_that_is_not_finite_is_named_with_its_term(together: int | None, stopped: int) -> None:
    """When each is looked at, and when several are together."""

    class InTerms(Toy):
        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            return {"loss": loss, "terms": {"l1": torch.ones(()), "motion": loss.detach()}}

    trainer = lightning.Trainer(max_steps=13, accelerator="cpu", callbacks=[FiniteLoss(together)], logger=False)
    with pytest.raises(NotFiniteError, match=r"the loss of step 4 is nan \(motion is nan\)"):
        trainer.fit(InTerms(nan_at=3), ToyData())
    assert trainer.global_step == stopped


def test_weights_that_are_not_finite_are_never_kept(refused) -> None:
    said = refused("--model.lr=3.4e38", "--checkpoint.every_n_train_steps=1")
    assert "weights are infinite or NaN after step 1" in said
    assert not Path("run/checkpoints").exists() and not Path("run/pretrained").exists()


def test_a_stopped_run_leaves_the_weights_that_were_validated_last() -> None:
    """An epoch, and so the validation, ends at step 10."""
    fit("--trainer.max_steps=10", "--trainer.default_root_dir=ten")
    with pytest.raises(SystemExit):
        fit("--model.fail_at=11", f"--model.signals=[{int(signal.SIGTERM)}]")
    assert last()["global_step"] == 12
    torch.testing.assert_close(torch.load("run/pretrained/net.pt")["1.weight"], weights("ten"), rtol=0, atol=0)
