"""A run's folder is told from what the run has made, by a module that imports nothing heavy."""

from pathlib import Path

import pytest

from videogpt.runs.folder import is_run_folder, refuse_run_folder


def test_importing_it_is_light(run_python) -> None:
    run_python("import videogpt.runs.folder", without=("torch", "lightning", "yaml", "numpy", "videogpt_tokenizer"))


@pytest.mark.parametrize("part", ["checkpoints/last.ckpt", "config.yaml", "pretrained/config.json"])
def test_any_part_of_a_run_makes_its_folder_one(part: str, tmp_path: Path) -> None:
    assert not is_run_folder(tmp_path)
    refuse_run_folder(tmp_path)
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).touch()
    assert is_run_folder(tmp_path)
    remedy = "has made, .*pretrained" if "pretrained" in part else "let fit go on"
    with pytest.raises(ValueError, match=remedy):
        refuse_run_folder(tmp_path)
    (tmp_path / "config.json").touch()  # a model, whatever else is there
    assert not is_run_folder(tmp_path)
