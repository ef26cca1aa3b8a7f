"""`videogpt fit` and its kin: every defect of Lightning's own command line by a test that fails on it."""

import json
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from torch import Tensor, nn

from videogpt.cli import main
from videogpt_tokenizer.resumable_loader import ResumableLoader

NUM_ITEMS = 20


class Toy(lightning.LightningModule):
    """A linear layer with all that resuming can get wrong: momentum, a schedule, dropout, shuffling."""

    def __init__(
        self,
        dim: int = 4,
        lr: float = 0.1,
        fail_at: int = -1,
        signals: tuple[int, ...] = (),
        poison: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.fail_at, self.signals, self.poison = lr, fail_at, signals, poison
        self.net = nn.Sequential(nn.Dropout(0.2), nn.Linear(dim, 1))
        self.seen: list[int] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.seen += batch["index"].tolist()
        if self.global_step == self.fail_at:
            for number in self.signals:
                os.kill(os.getpid(), number)
            if self.poison:
                self.net[1].weight.data.fill_(torch.nan)
            if not self.signals:
                raise RuntimeError("out of memory")
        loss = (self.net(batch["x"]) - 1).square().mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.net(batch["x"]).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_end(self) -> None:
        Toy.latest = self

    def save_pretrained(self, folder: str | Path) -> None:
        Path(folder).mkdir()
        torch.save(self.net.state_dict(), Path(folder) / "net.pt")


class ToyData(lightning.LightningDataModule):
    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        values = torch.randn(NUM_ITEMS, dim, generator=torch.Generator().manual_seed(0))
        self.items: Any = [{"x": value, "index": index} for index, value in enumerate(values)]

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(self.items, batch_size=2)

    def val_dataloader(self) -> ResumableLoader:
        return ResumableLoader(self.items, batch_size=5, shuffle=False)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "model": {"class_path": f"{Toy.__module__}.Toy", "init_args": {"lr": 0.1}},
        "data": {"class_path": f"{Toy.__module__}.ToyData"},
        "trainer": {
            "default_root_dir": "run",
            "max_steps": 13,
            "accelerator": "cpu",
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))


def fit(*arguments: str) -> int:
    return main(["fit", "--config", "config.yaml", *arguments])


def last(root: str = "run") -> dict[str, Any]:
    return torch.load(Path(root) / "checkpoints" / "last.ckpt", weights_only=True)


def weights(root: str = "run") -> Tensor:
    return last(root)["state_dict"]["net.1.weight"]


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("videogpt: error:")]


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
    fit("--trainer.max_steps=5")
    assert fit("--model.lr=0.3", "--resume=must") == 0
    said = capsys.readouterr().err
    assert "resuming run/checkpoints/last.ckpt, trained for 5 steps" in said
    assert "model.lr is 0.3 from here on; the checkpoint was trained with 0.1" in said
    assert last()["hyper_parameters"]["lr"] == 0.3
    group = last()["optimizer_states"][0]["param_groups"][0]  # what the optimizer itself went on with
    assert group["initial_lr"] == 0.3 and group["lr"] == pytest.approx(0.3 * 0.9**13)


def test_how_a_run_was_started_is_not_part_of_its_configuration() -> None:
    fit("--trainer.max_steps=2", "--resume=never")
    fit("--trainer.max_steps=3", "--ckpt_path=last")
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["ckpt_path"] is None and config["resume"] == "auto"
    assert main(["fit", "--config", "run/config.yaml", "--trainer.max_steps=4"]) == 0
    assert last()["global_step"] == 4


def test_an_unchanged_resume_says_of_no_difference(capsys) -> None:
    fit("--trainer.max_steps=5")
    capsys.readouterr()
    fit("--trainer.max_steps=5")
    said = capsys.readouterr().err
    assert "from here on" not in said and "nothing is left to train" in said


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_resumed_equals_uninterrupted(number: int, code: int, capsys) -> None:
    fit("--trainer.default_root_dir=whole")
    seen, trained = Toy.latest.seen, weights("whole")
    try:
        stopped = fit("--model.fail_at=6", f"--model.signals=[{int(number)}]")
    except SystemExit as stop:
        stopped = stop.code
    assert stopped == code and last()["global_step"] == 7
    assert fit("--resume=must") == 0
    assert Toy.latest.seen == seen[14:]
    torch.testing.assert_close(weights(), trained, rtol=0, atol=0)
    assert last()["lr_schedulers"] == last("whole")["lr_schedulers"]


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_earlier_checkpoint() -> None:
    arguments = ["--model.fail_at=6", "--model.signals=[2,2]", "--checkpoint.every_n_train_steps=4"]
    assert fit(*arguments) == 130
    assert last()["global_step"] == 4


def test_a_crash_keeps_the_steps_before_it_but_never_weights_that_are_not_finite() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        fit("--model.fail_at=6")
    assert last()["global_step"] == 6
    with pytest.raises(RuntimeError, match="out of memory"):
        fit("--model.fail_at=9", "--model.poison=true")
    assert last()["global_step"] == 6 and bool(weights().isfinite().all())


@pytest.mark.parametrize("flag", ["--resume=must", "--ckpt_path=last"])
def test_a_run_that_must_resume_does_not_begin_afresh(flag: str, capsys) -> None:
    assert fit(flag) == 2
    assert len(errors(capsys)) == 1 and not Path("run").exists()


def test_a_run_that_must_not_resume_overwrites_nothing(capsys) -> None:
    fit("--trainer.max_steps=2")
    assert fit("--resume=never") == 2
    assert "--resume auto" in errors(capsys)[0] and last()["global_step"] == 2


def test_a_folder_with_other_checkpoints_is_not_taken_for_a_new_run(capsys) -> None:
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/checkpoints/step=5.ckpt").write_bytes(b"")
    assert fit() == 2
    assert "--ckpt_path" in errors(capsys)[0]


def test_a_run_starts_from_a_given_checkpoint(capsys) -> None:
    fit("--trainer.max_steps=3", "--trainer.default_root_dir=first")
    assert fit("--ckpt_path=first/checkpoints/last.ckpt", "--trainer.max_steps=4") == 0
    assert "starting from first/checkpoints/last.ckpt, trained for 3 steps" in capsys.readouterr().err
    assert len(Toy.latest.seen) == 2


def test_validate_takes_the_runs_checkpoint_and_configuration_and_writes_nothing(capsys) -> None:
    fit("--trainer.max_steps=3")
    before = sorted(path for path in Path().rglob("*"))
    stamp = Path("run/config.yaml").stat().st_mtime_ns
    for _ in range(2):
        assert main(["validate", "--config", "run/config.yaml"]) == 0
    assert "using run/checkpoints/last.ckpt, trained for 3 steps" in capsys.readouterr().err
    assert sorted(path for path in Path().rglob("*")) == before
    assert Path("run/config.yaml").stat().st_mtime_ns == stamp


def test_validate_without_a_checkpoint_says_so(capsys) -> None:
    assert main(["validate", "--config", "config.yaml"]) == 0
    assert "no checkpoint was given or found" in capsys.readouterr().err


def test_a_checkpoint_that_needs_unpickling_is_refused(capsys) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("hacked",)

    torch.save({"state_dict": {}, "hyper_parameters": {"dim": Evil()}}, "evil.ckpt", pickle_module=pickle)
    for command in ("fit", "validate"):
        assert main([command, "--config", "config.yaml", "--ckpt_path=evil.ckpt"]) == 2
    assert not Path("hacked").exists() and len(errors(capsys)) == 2


def test_a_damaged_checkpoint_is_one_line_and_stays(capsys) -> None:
    fit("--trainer.max_steps=2")
    path = Path("run/checkpoints/last.ckpt")
    path.write_bytes(path.read_bytes()[:-200])
    assert fit() == 2
    assert "truncated" in errors(capsys)[0] and path.exists()


def test_a_checkpoint_of_another_model_is_one_line_and_stays(capsys) -> None:
    fit("--trainer.max_steps=2")
    assert fit("--model.dim=6", "--data.dim=6") == 2
    said = errors(capsys)[0]
    assert "is of another model" in said and "size mismatch" in said and last()["global_step"] == 2


@pytest.mark.parametrize(
    "arguments, about",
    [
        (["--trainer.max_stps=3"], "max_stps"),
        (["--model.nope=1"], "'nope'"),
        (["--model.lr=fast"], "fast"),
        (["--resume=maybe"], "maybe"),
        (["--config=missing.yaml"], "missing.yaml"),
        (["--trainer.default_root_dir=null"], "default_root_dir"),
        (["--checkpoint.every_n_train_steps=0"], "every_n_train_steps"),
        (["--ckpt_path=missing.ckpt"], "missing.ckpt"),
        (["--trainer.precision=8"], "precision"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], about: str, capsys) -> None:
    assert fit(*arguments) == 2
    said = errors(capsys)
    assert len(said) == 1 and about in said[0] and len(said[0]) < 400


def test_an_unknown_key_in_yaml_is_a_mistake(capsys) -> None:
    Path("typo.yaml").write_text("trainr: {max_steps: 3}")
    assert fit("--config=typo.yaml") == 2
    assert "trainr" in errors(capsys)[0]


def test_a_users_own_checkpoint_that_can_be_resumed_takes_the_place_of_ours() -> None:
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_last": True}}
    fit(f"--trainer.callbacks+={json.dumps(callback)}", "--trainer.max_steps=12")
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == [
        "epoch=1-step=12.ckpt",
        "last.ckpt",
    ]
