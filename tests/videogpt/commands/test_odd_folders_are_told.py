"""Every command over a folder of clips says what of it is left aside, and goes on past a clip that cannot be read."""

import json
import tarfile
from pathlib import Path

import pytest
import torch

from videogpt.cli import main
from videogpt.evaluation.scores import encode_and_measure
from videogpt.inspection.inspect import inspect_path
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer import Clip, ClipFolder
from videogpt_tokenizer.clips.skipped import SkippedClips

COMMANDS = {
    "tokenize": ["--num-frames", "5", "--size", "16", "--max-bad-share", "0.3", "--tokenizer"],
    "encode": ["--max-bad-share", "0.3", "--tokenizer"],
    "reconstruct": ["--max-bad-share", "0.3", "--tokenizer"],
    "train-text": ["--vocab-size", "258"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Four clips: one with a text, one in a linked class folder, two in a tar file."""
    monkeypatch.chdir(tmp_path)
    for place in ("clips/a.avi", "elsewhere/b.avi", "packed/c.avi", "packed/d.avi"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Clip(torch.randint(0, 256, (5, 16, 16, 3)).to(torch.uint8), 8).write(tmp_path / place)
    (tmp_path / "clips" / "a.txt").write_text("a red circle\n")
    (tmp_path / "clips" / "blue_star").symlink_to(tmp_path / "elsewhere")
    with tarfile.open(tmp_path / "clips" / "0.tar", "w") as archive:
        for name in ("c", "d"):
            archive.add(tmp_path / "packed" / f"{name}.avi", f"{name}.avi")
    return tmp_path / "clips"


@pytest.fixture
def odd(folder: Path) -> Path:
    """The same with files that are not used."""
    (folder / "e.xyz").write_text("?")
    (folder / "gone.mp4").symlink_to("nowhere")
    (folder / "loop").symlink_to(folder)
    return folder


def run(name: str, folder: Path, model: Path) -> int:
    arguments = COMMANDS[name] + ([str(model)] if COMMANDS[name][-1] == "--tokenizer" else [])
    return main([name, folder.name, *arguments, "--output", "out"])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_left_aside_is_one_line(name: str, odd: Path, model_folder: Path, capsys) -> None:
    assert run(name, odd, model_folder) == 0
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "left aside" in line]
    what = "1 dangling link (gone.mp4), 1 link to a folder that is read already (loop), 1 other suffix (e.xyz)"
    assert told == f"videogpt: clips: 3 of 8 files are left aside: {what}"


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_said_where_nothing_is_left_aside(name: str, folder: Path, model_folder: Path, capsys) -> None:
    assert run(name, folder, model_folder) == 0
    assert "aside" not in "".join(capsys.readouterr())


def test_inspect_names_every_reason(odd: Path, capsys) -> None:
    assert main(["inspect", "clips"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "4 clips: 4 good, 0 bad" in lines[0] and "captions: 3 different, 2 clips without" in lines[1]
    aside = ["1 dangling link: gone.mp4", "1 link to a folder that is read already: loop", "1 other suffix: e.xyz"]
    assert sorted(lines[3:]) == [f"left aside: {what}" for what in aside]


def test_inspect_and_reconstruct_take_a_member_of_a_tar_file(folder: Path, model_folder: Path, capsys) -> None:
    assert "video, 16x16 pixels" in inspect_path(folder / "0.tar" / "c.avi").lines[0]
    assert main(["reconstruct", "clips/0.tar/c.avi", "--tokenizer", str(model_folder)]) == 0
    assert "clips/0.tar/c.avi (5x16x16)" in capsys.readouterr().out
    for wrong in ("clips/0.tar/x.avi", "clips/1.tar/c.avi"):
        for command in (["inspect", wrong], ["reconstruct", wrong, "--tokenizer", str(model_folder)]):
            assert main(command) == 2
            assert f"{wrong}: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["0.tar", "metadata.tsv", "metadata.parquet"])
def test_inspect_refuses_parts_of_a_folder(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(ValueError, match=f"{name} is a ta.*: if it is of clips, inspect the folder that it lies in"):
        inspect_path(folder / name)


@pytest.fixture(
    params=[AttributeError("no codec"), UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "tag"), OSError(5, "I/O")]
)
def broken(request: pytest.FixtureRequest, folder: Path, break_reading) -> Path:
    """The clips, of which one raises behind its first frame what no decoder should."""
    break_reading("c.avi", request.param, behind=1)
    return folder


@pytest.mark.parametrize("name", ["tokenize", "encode", "reconstruct"])
def test_whatever_reading_a_clip_raises_the_job_goes_on(name: str, broken: Path, model_folder: Path, capsys) -> None:
    assert run(name, broken, model_folder) == 0
    printed = "".join(capsys.readouterr())
    assert "left out: " in printed and "0.tar/c.avi" in printed
    assert main(["inspect", "clips"]) == 2
    assert "clips/0.tar/c.avi: " in capsys.readouterr().err.splitlines()[-1]


def test_evaluation_goes_on_too(broken: Path, model_folder: Path) -> None:
    pipeline, records, bad = Pipeline.from_pretrained(model_folder), list(ClipFolder(broken)), SkippedClips(4, 0.3)
    for place in ("clips/a.avi", "elsewhere/b.avi"):
        Clip(torch.zeros(pipeline.max_frames, 16, 16, 3, dtype=torch.uint8), 8).write(broken.parent / place)
    with pytest.raises(ValueError, match=r"2 of 4 clips cannot be used.*0\.tar/c\.avi: "):
        encode_and_measure(pipeline, records, bad)
    assert [Path(name).name for name in bad.names] == ["c.avi", "d.avi"]


def test_names_that_are_no_text(folder: Path, model_folder: Path, capsys) -> None:
    name = b"caf\xe9.avi".decode("utf-8", "surrogateescape")
    (folder / "a.avi").rename(folder / name)
    assert run("reconstruct", folder, model_folder) == 0
    (figures,) = (folder.parent / "out").glob("*-figures.json")
    rows = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    assert any(row["name"] == f"clips/{name}: PSNR" for row in rows)
    assert main(["inspect", "clips"]) == 0
