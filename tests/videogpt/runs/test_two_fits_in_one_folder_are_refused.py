"""The second fit in a folder is refused while the first lives, and killed ones are in nobody's way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from videogpt.cli import main
from videogpt.runs.folder import is_first_process, only_fit_in

BORING = "lightning.pytorch.demos.boring_classes.Boring"
FIT = ["fit", "--model", f"{BORING}Model", "--data", f"{BORING}DataModule", "--trainer.default_root_dir=run"]
FIT += ["--trainer.accelerator=cpu", "--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--trainer.logger=false"]
FIT += ["--trainer.enable_model_summary=false", "--checkpoint.every_n_train_steps=1"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def living(*more: str) -> Iterator[subprocess.Popen]:
    """A fit without an end, in another process; it is killed."""
    endless = [*FIT, "--trainer.max_steps=-1", "--trainer.max_epochs=-1", *more]
    with subprocess.Popen([sys.executable, "-m", "videogpt", *endless], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                if Path("run/checkpoints/last.ckpt").exists():
                    break
                assert process.poll() is None
                time.sleep(0.1)
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("name", ["NODE_RANK", "GROUP_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_the_second_node_of_a_run_holds_nothing(name: str, monkeypatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert is_first_process()
    monkeypatch.setenv(name, "0")
    assert is_first_process()
    monkeypatch.setenv(name, "1")
    assert not is_first_process()


@pytest.mark.slow
def test_the_second_is_one_line_while_the_first_lives_and_goes_on_from_it_once_it_is_killed(error_line) -> None:
    with living() as first:
        assert main(FIT) == 2
        said = error_line()
        assert f"another fit is training in run (process {first.pid} on" in said and "default_root_dir" in said
        assert main([*FIT, "--trainer.default_root_dir=another"]) == 0
    step = torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"]
    assert main([*FIT, "--resume=must", f"--trainer.max_steps={step + 2}"]) == 0
    assert sorted(os.listdir("run")) == ["checkpoints", "config.yaml"]
    assert os.listdir("run/checkpoints") == ["last.ckpt"]


def test_one_that_fails_frees_the_folder_and_leaves_none(capsys) -> None:
    assert main([*FIT, "--trainer.gradient_clip_algorithm=no"]) == 2 and not Path("run").exists()
    assert main(FIT) == 0
    assert main([*FIT, "--resume=never"]) == 2 and "resume is never" in capsys.readouterr().err
    assert sorted(os.listdir("run")) == ["checkpoints", "config.yaml"]


def test_trials_and_the_other_processes_of_a_run_are_not_refused(monkeypatch) -> None:
    with only_fit_in(Path("run")):
        assert main(FIT) == 2
        assert main([*FIT, "--trainer.fast_dev_run=true"]) == 0
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        assert main(FIT) == 0


def test_where_the_file_system_has_no_locks_fits_go_on(monkeypatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert main(FIT) == 0 and os.listdir("run/checkpoints") == ["last.ckpt"]
