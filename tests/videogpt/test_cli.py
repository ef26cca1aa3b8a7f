"""The `videogpt` command: quick help, exit codes, one line for a mistake, and every light command once."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from videogpt import cli
from videogpt.cli import COMMANDS, TRAINER_COMMANDS, main
from videogpt.pipeline.request import Sample
from videogpt.pipeline.sample_files import SampleWriter

LIGHT_COMMANDS = [name for name in COMMANDS if name not in TRAINER_COMMANDS]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "shapes"
    assert main(["world", "shapes", "--output", str(folder), "--clips", "3", "--seed", "1"]) == 0
    return folder


def test_help_answers_within_a_second_and_is_a_mistake_unasked_for(capsys) -> None:
    assert main([]) == 2
    assert "usage: videogpt" in capsys.readouterr().err
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        result = subprocess.run([sys.executable, "-m", "videogpt", "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert result.returncode == 0 and all(f"  {name} " in result.stdout for name in COMMANDS)
    assert statistics.median(seconds) < 1


def test_the_help_of_light_commands_imports_nothing_heavy(run_python) -> None:
    program = """
from videogpt.cli import main
for name in sys.argv[1:]:
    try:
        main([name, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
print({"torch", "lightning", "av", "numpy", "sentencepiece"} & sys.modules.keys())
"""
    printed = run_python(program, *LIGHT_COMMANDS)
    assert printed.endswith("set()\n") and printed.count("usage: videogpt") == len(LIGHT_COMMANDS)


@pytest.mark.parametrize(
    "arguments, about",
    [
        (["smaple"], "did you mean sample?"),
        (["sample"], "there is no prompt"),
        (["sample", "x", "--top-q", "3"], "--top-q"),
        (["sample", "x", "--seed", "one"], "'one'"),
        (["sample", "x", "--num-frames", "4"], "4 frames do not fit the tokenizer: the nearest counts are 1 and 5"),
        (["sample", "x", "--model", "nowhere"], "nowhere"),
        (["sample", "--prompts", "missing.txt"], "missing.txt"),
        (["world"], "WORLD"),
        (["world", "shapes", "--clips", "3"], "--output"),
        (["world", "shapes", "--clips", "0", "--output", "x"], "clips=0"),
        (["world", "sprites", "--clips", "3", "--output", "x"], "--source"),
        (["world", "sprites", "--source", "missing", "--clips", "3", "--output", "x"], "missing"),
        (["tokenize", "missing", "--tokenizer", "x", "--output", "y"], "missing"),
        (["tokenize", ".", "--tokenizer", "x", "--output", "y", "--size", "ten"], "invalid size value: 'ten'"),
        (["reconstruct", "missing.mp4", "--tokenizer", "x"], "missing.mp4"),
        (["train-text", "missing", "--output", "text.model"], "missing"),
        (["inspect", "missing"], "missing"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], about: str, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("videogpt: error: ") and printed.err.count("\n") == 1 and about in printed.err
    assert printed.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ValueError("one\n  two"), 2, "videogpt: error: one two\n"),
        (OSError(28, "No space left on device", "a.mp4"), 2, "videogpt: error: a.mp4: No space left on device\n"),
        (KeyboardInterrupt(), 130, "videogpt: interrupted\n"),
        (MemoryError(), 2, "videogpt: error: there is not enough memory for this"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "videogpt: error: there is not enough memory"),
    ],
)
def test_exit_codes(error: BaseException, code: int, line: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli, "_dispatch", Mock(side_effect=error))
    assert main(["inspect", "x"]) == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1


@pytest.mark.parametrize("error, asked_for", [(KeyError(), "0"), (RuntimeError("ours"), "0"), (ValueError(), "1")])
def test_tracebacks_are_of_our_mistakes_and_where_asked_for(error: Exception, asked_for: str, monkeypatch) -> None:
    monkeypatch.setenv("VIDEOGPT_TRACEBACK", asked_for)
    monkeypatch.setattr(cli, "_dispatch", Mock(side_effect=error))
    with pytest.raises(type(error)):
        main(["inspect", "x"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = """
import sys
from videogpt import cli
cli._dispatch = lambda argv: print("x" * 10**6) or 0
sys.exit(cli.main([]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_sample_writes_its_files(model_folder: Path, tmp_path: Path, videogpt) -> None:
    asked = ["a red circle", "--num-samples", 2, "--seed", 5, "--top-k", 9, "--num-frames", 5, "--format", "gif"]
    printed = videogpt("sample", *asked, "--model", model_folder, "--output", tmp_path / "out")
    names = ["0001-a-red-circle-s5.gif", "0002-a-red-circle-s6.gif", "0003-contact-sheet.png"]
    assert printed.out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert all((tmp_path / "out" / name).is_file() for name in names)
    assert "sampling 24/24 codes" in printed.err


def test_prompts_of_a_file_keep_their_seeds(model_folder: Path, tmp_path: Path, videogpt) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "b", "seed": 7}\n{"prompt": "c"}\n')
    asked = ["a", "--prompts", tmp_path / "prompts.jsonl", "--seed", 2]
    printed = videogpt("sample", *asked, "--model", model_folder, "--output", tmp_path).out
    names = [Path(line).name for line in printed.splitlines()]
    assert names[:3] == ["0001-a-s2.mp4", "0002-b-s7.mp4", "0003-c-s2.mp4"]


def test_a_prompt_file_goes_on_after_an_interruption_and_does_no_clip_twice(
    model_folder: Path, tmp_path: Path, videogpt, monkeypatch
) -> None:
    lines = [{"prompt": "b", "seed": 7}, {"prompt": "c"}, {"prompt": "c"}, {"prompt": "d", "num_frames": 5}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["sample", "--prompts", tmp_path / "prompts.jsonl", "--model", model_folder, "--output", tmp_path / "out"]
    write, written = SampleWriter.write, []

    def interrupted(self: SampleWriter, sample: Sample) -> Path:
        if len(written) == 2:
            raise ValueError("the power is gone")
        written.append(sample)
        return write(self, sample)

    monkeypatch.setattr(SampleWriter, "write", interrupted)
    videogpt(*command, code=2)
    monkeypatch.undo()
    said = videogpt(*command)
    assert "2 of 4 clips are in" in said.err and said.out.count(".mp4") == 2
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("*.json"))]
    found = [(record["prompt"], record["seed"], record["num_frames"]) for record in records]
    assert found == [("b", 7, 9), ("c", 0, 9), ("c", 0, 9), ("d", 0, 5)]
    said = videogpt(*command)
    assert "4 of 4 clips are in" in said.err and not said.out
    assert videogpt(*command, "--temperature", 0.5).out.count(".mp4") == 4, "other settings, other clips"
    next((tmp_path / "out").glob("0001-*.mp4")).unlink()
    (tmp_path / "out" / "0002-c-s0.json").write_text("{")
    assert videogpt(*command).out.count(".mp4") == 2, "a record without its clip, and a clip without its record"


def test_a_clip_of_another_format_picture_or_engine_is_another_clip(
    model_folder: Path, tmp_path: Path, videogpt, random_clip
) -> None:
    picture = tmp_path / "a.png"
    random_clip(1, 16, 24, seed=1).write(picture)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"image": "a.png"}))
    command = ["sample", "--prompts", tmp_path / "prompts.jsonl", "--model", model_folder, "--output", tmp_path / "out"]
    assert videogpt(*command).out.count(".mp4") == 1
    assert videogpt(*command, "--format", "gif").out.count(".gif") == 1
    assert videogpt(*command, "--engine", "torch-int8-cache").out.count(".mp4") == 1
    random_clip(1, 16, 24, seed=2).write(picture)
    assert videogpt(*command).out.count(".mp4") == 1
    assert not videogpt(*command, "--engine", "torch", "--lane", "eager").out, "exact ways draw the same"


def test_train_text_and_tokenize_make_what_inspect_knows(world: Path, model_folder, tmp_path: Path, videogpt) -> None:
    text, tokens = tmp_path / "text.model", tmp_path / "tokens"
    videogpt("train-text", world, "--output", text, "--vocab-size", 280)
    videogpt("train-text", world, "--output", text, code=2)  # never over another
    videogpt("tokenize", world, "--tokenizer", model_folder, "--output", tokens, "--num-frames", 5, "--size", "16x32")
    for path, kind in ((text, "text tokenizer, 2"), (tokens, "3 of 2x2x4 codes"), (world, "folder of 3 clips")):
        assert kind in videogpt("inspect", path).out


def test_reconstruct_prints_and_writes(world: Path, model_folder: Path, tmp_path: Path, videogpt) -> None:
    printed = videogpt("reconstruct", world, "--tokenizer", model_folder, "--output", tmp_path).out
    lines = printed.splitlines()
    assert len(lines) == 6 and lines[3].startswith("mean (3 clips): PSNR ")
    assert lines[0].endswith(f"bits per pixel -> {tmp_path / '0001-000000.mp4'}")
    assert lines[4].startswith("PSNR by place") and lines[5] == f"figures -> {tmp_path / '0004-figures.json'}"
    clips = [f"000{n + 1}-00000{n}.mp4" for n in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*clips, "0004-figures.json"]
