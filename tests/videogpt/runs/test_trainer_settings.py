"""Settings of Lightning's Trainer, in both fits: each value trains, or is one line that names the setting."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from videogpt.cli import main
from videogpt.runs.trainer_settings import check_settings
from videogpt_tokenizer import VideoTokenizer
from videogpt_tokenizer.optim.precision import check_precision
from videogpt_tokenizer.training.reconstruction import TokenizerTraining

TRAINER = {
    "default_root_dir": "run",
    "accelerator": "cpu",
    "max_steps": 2,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 1,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
    "check_val_every_n_epoch": None,
    "val_check_interval": 2,
}
TOKENIZER = {
    "class_path": "videogpt_tokenizer.TokenizerTraining",
    "init_args": {"tokenizer": {"autoencoder": {"widths": [16, 16], "encoder_depth": 1, "decoder_depth": 1}}},
}
MODEL = {
    "class_path": "videogpt.VideoGPTTraining",
    "init_args": {"model": {"width": 32, "depth": 1, "heads": 2, "kv_heads": 1}, "text": {"vocab_size": 300}},
}
EVERY_PART = [
    '--model.adversarial={"start_step":0,"width":8,"depth":2,"ramp_steps":1}',
    '--model.prior={"weight":0.01}',
    "--model.loss.perceptual=0.1",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_tokenizer) -> Path:
    """Clips, a tokenizer, token shards."""
    root = tmp_path_factory.mktemp("world")
    make_tokenizer().save_pretrained(root / "tok")
    assert main(["world", "shapes", "--output", str(root / "clips"), "--clips", "24", "--seed", "1"]) == 0
    shards = ["--output", str(root / "shards"), "--num-frames", "5", "--size", "16"]
    assert main(["tokenize", str(root / "clips"), "--tokenizer", str(root / "tok"), *shards]) == 0
    return root


@pytest.fixture(autouse=True)
def configs(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tokenizer.yaml and model.yaml, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    clips = {"folder": str(world / "clips"), "num_frames": 5, "size": 16, "batch_size": 2}
    clips = {"class_path": "videogpt_tokenizer.ClipDataModule", "init_args": clips}
    tokens = {"class_path": "videogpt.TokenData", "init_args": {"folder": str(world / "shards"), "batch_size": 4}}
    model = {**MODEL, "init_args": {**MODEL["init_args"], "tokenizer": str(world / "tok")}}
    for name, parts in (("tokenizer", (TOKENIZER, clips)), ("model", (model, tokens))):
        config = {"trainer": TRAINER, "model": parts[0], "data": parts[1]}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(config))


def fit(name: str, *flags: str) -> int:
    return main(["fit", "--config", f"{name}.yaml", *flags])


def last() -> dict[str, Any]:
    return torch.load("run/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    "flags", [[], EVERY_PART, ["--model.optimizer.kind=muon"]], ids=["plain", "every part", "muon"]
)
@pytest.mark.parametrize("name", ["tokenizer", "model"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains_and_keeps_float32(precision: str, name: str, flags: list[str], capsys) -> None:
    """With clipping, and the fused optimizer. Lightning makes bfloat16 of float16 on a CPU, and says so."""
    if name == "model" and flags is EVERY_PART:
        pytest.skip("parts of the tokenizer's training")
    assert fit(name, f"--trainer.precision={precision}", *flags) == 0
    kept = last()
    assert kept["global_step"] == 2
    weights = [x for x in kept["state_dict"].values() if x.is_floating_point()]
    assert all(x.dtype == torch.float32 and bool(x.isfinite().all()) for x in weights)
    said = capsys.readouterr().err
    assert "nan" not in said and "fit 2/2 steps" in said


@pytest.mark.parametrize("name", ["tokenizer", "model"])
def test_other_precisions_are_one_line_before_anything_is_decoded(name: str, error_line) -> None:
    for precision in ("bf16-true", "64", "transformer-engine"):
        assert fit(name, f"--trainer.precision={precision}") == 2
        said = error_line()
        assert f"trainer.precision is {precision}" in said and "bf16-mixed or 16-mixed" in said
    assert fit(name, "--trainer.plugins=lightning.pytorch.plugins.HalfPrecision") == 2
    assert "trainer.precision is 16-true" in error_line() and not Path("run").exists()


@pytest.mark.parametrize("known", ["32-true", "32", 32, "16-mixed", "16", 16, "bf16-mixed", "bf16", None])
def test_what_works_goes_by_every_name(known: Any) -> None:
    check_precision(known)


@pytest.mark.parametrize("unknown", ["64-true", 64, "16-true", "bf16-true", "transformer-engine-float16"])
def test_what_does_not_work_is_refused_from_python_too(unknown: Any) -> None:
    with pytest.raises(ValueError, match="trainer.precision is .*choose 32-true"):
        check_precision(unknown)


def test_a_trainer_of_ones_own_is_asked_for_its_precision(make_tokenizer) -> None:
    training = TokenizerTraining(make_tokenizer().config)
    trainer = Trainer(precision="bf16-true", accelerator="cpu", logger=False, max_steps=1, enable_checkpointing=False)
    with pytest.raises(ValueError, match="trainer.precision is bf16-true"):
        trainer.fit(training, [{"video": torch.zeros(1, 3, 5, 16, 16)}])


@pytest.mark.parametrize(
    "key, value, about",
    [
        ("accumulate_grad_batches", 0, "1 or more"),
        ("accumulate_grad_batches", -1, "1 or more"),
        ("check_val_every_n_epoch", 0, "1 or more"),
        ("gradient_clip_val", -1.0, "0 or more"),
        ("log_every_n_steps", -1, "0 or more"),
        ("val_check_interval", 0, "above 0"),
        ("limit_train_batches", 0, "nothing would be trained"),
        ("overfit_batches", 1, "folder that holds those few clips"),
        ("barebones", True, "no checkpoint"),
        ("strategy", "ddp_spawn", "choose ddp"),
        ("strategy", "ddp_notebook", "choose ddp"),
    ],
)
def test_a_value_that_undoes_the_training_is_one_line(key: str, value: Any, about: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.{key} is .*{about}"):
        check_settings({key: value}, overfits=False)
    check_settings(
        {"overfit_batches": 1, "gradient_clip_val": 0, "strategy": "ddp", "val_check_interval": 0.5}, overfits=True
    )


@pytest.mark.parametrize(
    "flag, about",
    [
        ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches is 0"),
        ("--trainer.overfit_batches=1", "trainer.overfit_batches is 1"),
        ("--trainer.strategy=ddp_spawn", "trainer.strategy is ddp_spawn"),
        ("--trainer.strategy=xla", "torch_xla"),
        ("--trainer.devices=[0]", "devices"),
        ("--trainer.plugins=lightning.pytorch.plugins.io.AsyncCheckpointIO", "AsyncCheckpointIO"),
        ("--trainer.barebones=true", "trainer.barebones"),
    ],
)
def test_a_flag_is_refused_before_anything_is_written(flag: str, about: str, error_line) -> None:
    assert fit("model", flag) == 2
    assert about in error_line() and not Path("run").exists()


CALLBACK = "lightning.pytorch.callbacks."


@pytest.mark.parametrize(
    "callback, more, about",
    [
        ({"class_path": f"{CALLBACK}EarlyStopping", "init_args": {"monitor": "no"}}, [], "val/bits_per_video_token"),
        ({"class_path": f"{CALLBACK}ModelCheckpoint", "init_args": {"monitor": "no"}}, [], "val/bits_per_video_token"),
        ({"class_path": f"{CALLBACK}LearningRateMonitor"}, ["--trainer.logger=false"], "no logger"),
        ({"class_path": f"{CALLBACK}LearningRateFinder"}, [], "learning rate finder"),
    ],
)
def test_a_callback_that_does_not_suit_is_one_line(
    callback: dict[str, Any], more: list[str], about: str, error_line
) -> None:
    assert fit("model", f"--trainer.callbacks+={json.dumps(callback)}", *more) == 2
    assert about in error_line()


def test_a_progress_bar_of_the_users_takes_the_place_of_ours() -> None:
    assert fit("model", f"--trainer.callbacks+={CALLBACK}TQDMProgressBar") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokenizer", "model"])
def test_a_training_without_a_last_step_stays_at_its_peak_and_is_resumed(name: str, capsys) -> None:
    endless = ["--trainer.max_steps=-1", "--trainer.max_epochs=-1", "--model.optimizer.warmup_steps=1"]
    for seconds, resume in ((1, "never"), (2, "must")):
        assert fit(name, *endless, f"--trainer.max_time=00:00:00:0{seconds}", f"--resume={resume}") == 0
        said = capsys.readouterr().err
        assert said.count("has no last step (trainer.max_steps is -1)") == 1
        (group, *_) = last()["optimizer_states"][0]["param_groups"]
        assert group["lr"] == group["initial_lr"] and last()["global_step"] > 1


def test_an_end_in_epochs_is_an_end_of_the_schedule() -> None:
    assert fit("model", "--trainer.max_steps=-1", "--trainer.max_epochs=1", "--model.optimizer.warmup_steps=1") == 0
    (group, *_) = last()["optimizer_states"][0]["param_groups"]
    assert 0 < group["lr"] < 0.2 * group["initial_lr"]


def test_no_step_at_all_is_said_and_leaves_nothing(capsys) -> None:
    assert fit("model", "--trainer.max_steps=0") == 0
    assert "nothing has been trained" in capsys.readouterr().err and not Path("run").exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_kind_is_said_first(world: Path, capsys) -> None:
    for name in ("tokenizer", "model"):
        assert fit(name, f"--trainer.default_root_dir={name}") == 0
    capsys.readouterr()
    for command, name, other in (
        ("fit", "tokenizer", "model"),
        ("fit", "model", "tokenizer"),
        ("test", "model", "tokenizer"),
    ):
        checkpoint = f"{other}/checkpoints/last.ckpt"
        assert main([command, "--config", f"{name}.yaml", f"--ckpt_path={checkpoint}"]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("videogpt:")]
        assert len(lines) == 1 and f"{checkpoint} is of another kind of training" in lines[0]


@pytest.mark.slow
def test_what_is_no_checkpoint_is_said(world: Path, error_line, capsys) -> None:
    VideoTokenizer.from_pretrained(world / "tok").save_pretrained("folder")
    Path("random.ckpt").write_bytes(torch.randint(128, 256, (5000,)).to(torch.uint8).numpy().tobytes())
    Path("empty.ckpt").touch()
    torch.save({"weight": torch.zeros(2)}, "weights.pt")
    assert fit("tokenizer") == 0
    whole = last()
    torch.save({key: value for key, value in whole.items() if key != "optimizer_states"}, "weights-only.ckpt")
    torch.save({**whole, "pytorch-lightning_version": "1.5.0"}, "early.ckpt")
    torch.save({**whole, "hyper_parameters": 3}, "odd.ckpt")
    capsys.readouterr()
    for path, about in {
        "folder": "is a folder that holds none",
        "run": "give run/checkpoints/last.ckpt",
        "folder/model.safetensors": "weights",
        "folder/config.json": "is no checkpoint but text",
        "tokenizer.yaml": "is no checkpoint but text",
        "random.ckpt": "is no checkpoint",
        "empty.ckpt": "empty",
        "weights.pt": "not the checkpoint of a training",
        "weights-only.ckpt": "without the optimizer's state",
        "early.ckpt": "of another version",
        "odd.ckpt": "hyper_parameters is 3",
    }.items():
        flags = [f"--ckpt_path={path}", "--trainer.default_root_dir=other", "--trainer.max_steps=4"]
        assert fit("tokenizer", *flags) == 2
        said = error_line()
        assert path in said and about in said and not Path("other").exists()
