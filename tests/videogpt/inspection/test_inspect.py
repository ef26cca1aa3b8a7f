"""Inspection: says what a file or folder is, finds damage, runs nothing that a file brings along."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from videogpt.cli import main
from videogpt.inspection.inspect import inspect_path
from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    network = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
    return VideoTokenizer(TokenizerConfig(autoencoder=network)).eval()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two sound clips in a class folder."""
    (tmp_path / "clips" / "red_circle").mkdir(parents=True)
    for index in range(2):
        frames = torch.randint(0, 256, (5 + index, 16, 24, 3)).to(torch.uint8)
        Clip(frames, 8).write(tmp_path / "clips" / "red_circle" / f"{index}.avi")
    return tmp_path / "clips"


def checkpoint(**changes: Any) -> dict[str, Any]:
    """The skeleton of a Lightning checkpoint."""
    contents = {
        "state_dict": {"net.weight": torch.ones(3, 4)},
        "hyper_parameters": {"_class_path": "toy.Toy"},
        "global_step": 7,
        "epoch": 1,
        "optimizer_states": [{}],
    }
    return contents | changes


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def test_a_video_and_an_image(clips: Path) -> None:
    video = inspect_path(clips / "red_circle" / "1.avi")
    assert "video, 24x16 pixels" in video.lines[0] and "6 at 8 a second" in video.lines[1] and not video.faults
    Clip.read(clips / "red_circle" / "1.avi", num_frames=1).write(clips / "one.png")
    assert "image, 24x16 pixels" in inspect_path(clips / "one.png").lines[0]


def test_a_folder_of_clips_with_a_damaged_one(clips: Path) -> None:
    sound = inspect_path(clips)
    assert "2 clips: 2 good, 0 bad" in sound.lines[0] and "5 to 6; sizes: 24x16" in sound.lines[2] and not sound.faults
    cut(clips / "red_circle" / "0.avi", 500)
    damaged = inspect_path(clips)
    assert "2 clips: 1 good, 1 bad" in damaged.lines[0]
    assert len(damaged.faults) == 1 and "0.avi" in damaged.faults[0]


def test_every_bad_clip_is_named_up_to_ten(clips: Path, capsys) -> None:
    for index in range(12):
        (clips / f"bad{index:02}.mp4").write_bytes(b"")
    assert main(["inspect", str(clips)]) == 2
    printed = capsys.readouterr()
    assert "14 clips: 2 good, 12 bad" in printed.out
    last = printed.err.splitlines()[-1]
    assert all(f"bad{index:02}.mp4" in last for index in range(10)) and last.endswith("; and 2 more")
    assert "bad10.mp4" not in last


def test_columns_of_the_metadata_can_be_chosen(clips: Path, capsys) -> None:
    (clips / "metadata.csv").write_text("video,text\nred_circle/0.avi,a circle\n")
    assert main(["inspect", str(clips)]) == 2
    assert "--file-column" in capsys.readouterr().err
    assert main(["inspect", str(clips), "--file-column", "video", "--caption-column", "text"]) == 0
    assert "1 clips: 1 good" in capsys.readouterr().out


def test_a_shipped_model_by_name_unless_there_is_such_a_path(clips: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(clips.parent)
    assert main(["inspect", "shapes"]) == 0
    assert "all checksums are right" in capsys.readouterr().out
    clips.rename("shapes")
    assert main(["inspect", "shapes"]) == 0
    assert "folder of" in capsys.readouterr().out


def test_a_shipped_tokenizer_by_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "natural"]) == 0
    assert "fsq: 64000 codes" in capsys.readouterr().out


def test_weights_that_are_no_numbers_are_no_tokenizer(tokenizer: VideoTokenizer, tmp_path: Path, capsys) -> None:
    spoiled = VideoTokenizer(tokenizer.config)
    with torch.no_grad():
        spoiled.decoder.last_weight[0, 0] = torch.nan
    spoiled.save_pretrained(tmp_path / "spoiled")
    assert main(["inspect", str(tmp_path / "spoiled")]) == 2
    assert "decoder.to_patches.2.weight holds values that are not finite" in capsys.readouterr().err


def test_an_export_is_no_tokenizer_and_is_called_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "manifest.json").write_text('{"format": "videogpt-tokenizer-export"}')
    assert main(["reconstruct", str(tmp_path), "--tokenizer", str(tmp_path / "exported")]) == 2
    assert main(["export", str(tmp_path / "exported"), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert "this is an export for other programs" in capsys.readouterr().err


def test_a_video_tokenizer_and_an_altered_one(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    lines = inspect_path(tmp_path).lines
    assert "video tokenizer" in lines[0] and "1000 codes, one for 4x8x8" in lines[1]
    assert tokenizer.fingerprint() in lines[2]
    cut(tmp_path / "model.safetensors", 1)
    with pytest.raises(ValueError, match="truncated or altered"):
        inspect_path(tmp_path)


def test_a_text_tokenizer(tmp_path: Path) -> None:
    TextTokenizer.train(["a red circle"], vocab_size=270).save(tmp_path / "text.model")
    assert "text tokenizer, 2" in inspect_path(tmp_path / "text.model").lines[0]


def test_token_shards_and_altered_ones(clips: Path, tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=5, size=16)
    found = inspect_path(tmp_path / "tokens")
    assert "rows: 2 of 2x2x2 codes below 1000" in found.lines and not found.faults
    codes = np.load(tmp_path / "tokens" / "codes.npy")
    codes[1] = 1000
    np.save(tmp_path / "tokens" / "codes.npy", codes)
    assert len(inspect_path(tmp_path / "tokens").faults) == 1


def test_checkpoints(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "a.ckpt")
    found = inspect_path(tmp_path / "a.ckpt")
    assert "checkpoint of toy.Toy, 7 steps, epoch 1" in found.lines[0]
    assert "1 tensors with 12 values (float32); with the state" in found.lines[1] and not found.faults
    torch.save(checkpoint(state_dict={"net.weight": torch.full((2,), torch.nan)}), tmp_path / "b.ckpt")
    assert "net.weight" in inspect_path(tmp_path / "b.ckpt").faults[0]
    cut(tmp_path / "a.ckpt", 100)
    with pytest.raises(ValueError, match="truncated"):
        inspect_path(tmp_path / "a.ckpt")


def test_a_run_folder(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    empty = "\n".join(inspect_path(tmp_path).lines)
    assert "folder of a run" in empty and "no checkpoint yet" in empty and "nothing made yet" in empty
    torch.save(checkpoint(), tmp_path / "checkpoints" / "last.ckpt")
    tokenizer.save_pretrained(tmp_path / "pretrained")
    lines = "\n".join(inspect_path(tmp_path).lines)
    assert "folder of a run" in lines and "7 steps" in lines and "video tokenizer" in lines


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.pkl", "evil.mp4"])
def test_nothing_is_ever_unpickled(name: str, tmp_path: Path, monkeypatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("hacked",)

    monkeypatch.chdir(tmp_path)
    if name == "evil.pkl":
        Path(name).write_bytes(pickle.dumps(Evil()))
    else:
        torch.save(checkpoint(hyper_parameters=Evil()), name)
    with pytest.raises(ValueError, match="never loaded|not a checkpoint"):
        inspect_path(Path(name))
    assert not Path("hacked").exists()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "name",
    ["folder/config.json", "folder/manifest.json", "report.json", "clips/metadata.jsonl", "shards/manifest.json"],
)
def test_json_that_is_nested_too_deeply_is_refused_in_one_line(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(DEEP)
    place = tmp_path / name if name == "report.json" else (tmp_path / name).parent
    assert main(["inspect", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and Path(name).name in said
    if name == "folder/config.json":
        assert main(["export", str(place), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
        assert main(["reconstruct", str(place), "--tokenizer", str(place)]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state_dict": [torch.ones(1)]}, "has a list in place of a state_dict"),
        ({"state_dict": {"sparse": torch.eye(2).to_sparse()}}, "there and finite in sparse"),
        ({"state_dict": {"meta": torch.empty(9, device="meta")}}, "there and finite in meta"),
        ({"state_dict": {1: torch.tensor([float("nan")])}}, "there and finite in 1"),
    ],
)
def test_odd_checkpoints_are_told_in_one_line(changes: dict[str, Any], said: str, tmp_path: Path, capsys) -> None:
    torch.save(checkpoint(**changes), tmp_path / "odd.ckpt")
    assert main(["inspect", str(tmp_path / "odd.ckpt")]) == 2
    assert said in capsys.readouterr().err


def test_odd_settings_and_small_floats_are_no_fault(tmp_path: Path) -> None:
    odd = {"hyper_parameters": [1, 2], "state_dict": {"small": torch.ones(3).to(torch.float8_e4m3fn)}}
    torch.save(checkpoint(**odd), tmp_path / "odd.ckpt")
    found = inspect_path(tmp_path / "odd.ckpt")
    assert "something unnamed" in found.lines[0] and not found.faults


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.float16)}, tmp_path / "x.safetensors")
    assert "2 tensors with 10 values (float16, float32)" in inspect_path(tmp_path / "x.safetensors").lines[0]
    cut(tmp_path / "x.safetensors", 1)
    with pytest.raises(ValueError, match="truncated, altered or not safetensors"):
        inspect_path(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"tokenizer": {}, "loss": {}}, "a video tokenizer in training"),
        ({"tokenizer": "t", "model": {}, "text": {}}, "t"),
    ],
)
def test_what_a_checkpoint_is_of(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    torch.save(checkpoint(hyper_parameters=settings), tmp_path / "a.ckpt")
    assert said in inspect_path(tmp_path / "a.ckpt").lines[0]


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("figures.json", {"command": "x", "hardware": {}, "versions": {}, "protocol": {}, "rows": [1]}, "1 figures"),
        ("0001-a-s0.json", {"prompt": "a", "seed": 0, "file": "a.mp4", "sampling": {}}, "sample a.mp4"),
        ("config.json", {"format": "videogpt-model"}, "inspect the folder"),
        ("tiny.yaml", {"model": {"class_path": "a.B"}, "data": {}}, "configuration of a run"),
    ],
)
def test_documents(name: str, content: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))  # which is YAML too
    assert said in inspect_path(tmp_path / name).lines[0]


def test_tokens_are_inspected_without_the_trainer(clips: Path, tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=5, size=16)
    code = "import sys; sys.modules['lightning'] = None; from videogpt.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "inspect", str(tmp_path / "tokens")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.txt", b"hello"),
        ("b.mp4", b""),
        ("c.model", b"no"),
        ("d.json", b"{}"),
        ("e.json", b"["),
        ("f.yaml", b"a: [1"),
        ("g.yaml", b"\xff"),
        ("h.csv", b"file_name,caption"),
    ],
)
def test_what_is_not_known_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        inspect_path(tmp_path / name)


def test_a_folder_of_another_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clips"):
        inspect_path(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="something unknown"):
        inspect_path(tmp_path)
