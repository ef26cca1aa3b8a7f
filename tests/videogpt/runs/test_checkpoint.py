"""Checkpoints are staged beside their place: a full disk is named, and costs nothing that was there."""

import errno
import os
import tempfile
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from videogpt.cli import main
from videogpt.runs.checkpoint import RunCheckpoint

BORING = "lightning.pytorch.demos.boring_classes.Boring"
FIT = ["fit", "--model", f"{BORING}Model", "--data", f"{BORING}DataModule", "--trainer.default_root_dir=run"]
FIT += ["--trainer.accelerator=cpu", "--trainer.limit_val_batches=0", "--trainer.enable_model_summary=false"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_full_disk_is_one_line_that_names_the_checkpoint_and_the_last_one_stays(error_line, full_disk) -> None:
    assert main([*FIT, "--trainer.max_steps=2", "--trainer.logger=false"]) == 0
    before = Path("run/checkpoints/last.ckpt").read_bytes()
    with full_disk(4000):
        assert main([*FIT, "--trainer.max_steps=4", "--trainer.logger=false"]) == 2
    said = error_line()
    assert "cannot write run/checkpoints/last.ckpt: File too large; free some space" in said
    assert "another trainer.default_root_dir" in said and "partial" not in said
    assert Path("run/checkpoints/last.ckpt").read_bytes() == before and os.listdir("run/checkpoints") == ["last.ckpt"]


def test_what_could_not_be_written_is_not_tried_again_as_the_run_ends(monkeypatch) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    monkeypatch.setattr(torch, "save", full)
    assert main([*FIT, "--trainer.max_steps=2", "--trainer.logger=false"]) == 2
    assert full.call_count == 1


def test_a_users_own_checkpoints_are_staged_and_named_too(error_line, full_disk) -> None:
    callback = '{"class_path":"lightning.pytorch.callbacks.ModelCheckpoint","init_args":{"save_last":true}}'
    with full_disk(4000):
        flags = [f"--trainer.callbacks+={callback}", "--trainer.max_steps=2", "--trainer.logger=false"]
        assert main([*FIT, *flags, "--trainer.max_epochs=1"]) == 2
    assert "run" in error_line() and not list(Path("run").rglob("*partial*"))


def test_what_tensorboard_cannot_write_names_the_run(error_line, monkeypatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    monitor = "--trainer.callbacks+=lightning.pytorch.callbacks.LearningRateMonitor"
    assert main([*FIT, "--trainer.max_steps=9", "--trainer.log_every_n_steps=1", monitor]) == 2
    assert "cannot write run: No space left on device; free some space" in error_line()


@pytest.mark.parametrize("place", ["missing", "full"])
def test_the_folder_for_temporary_files_is_not_needed(place: str, monkeypatch) -> None:
    temporary = Path("temporary")
    if place == "full":
        temporary.mkdir()
        named = tempfile.NamedTemporaryFile

        def full(*args: object, **more: object) -> object:
            if not more.get("dir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return named(*args, **more)

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
        monkeypatch.setattr(tempfile, "mkstemp", full)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert main([*FIT, "--trainer.max_steps=2"]) == 0
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2


def test_a_trainer_from_python_stages_them_as_well(full_disk) -> None:
    options = {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    trainer = Trainer(default_root_dir="run", callbacks=[RunCheckpoint()], limit_val_batches=0, **options)
    with full_disk(1000), pytest.raises(OSError, match="cannot write run/checkpoints/last.ckpt: File too large"):
        trainer.fit(BoringModel(), BoringDataModule())
    assert os.listdir("run/checkpoints") == []
