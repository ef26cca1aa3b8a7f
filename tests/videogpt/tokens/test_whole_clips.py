"""Codes of whole clips: every clip comes back at its own length and size; folders are whole or absent."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.inspection.inspect import inspect_path
from videogpt.tokens.whole_clips import ClipCodesFolder, CodedClip, write_clip_codes
from videogpt_tokenizer.any_size import ClipCodes, encode_pieces
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

SHAPES = {"long": (70, 16, 24), "odd": (6, 13, 20), "one": (1, 9, 8)}


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer) -> VideoTokenizer:
    return make_tokenizer(encoder_context="wide", remembers=True)


@pytest.fixture(scope="module")
def codes(odd_clips: Path, tokenizer: VideoTokenizer, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("codes") / "whole"
    write_clip_codes(odd_clips, tokenizer, output)
    return output


@pytest.fixture
def damaged(codes: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(codes, tmp_path / "damaged")


def original(odd_clips: Path, name: str) -> Clip:
    return Clip.read(next(odd_clips.rglob(f"{name}.avi")))


def test_codes_are_those_of_encode_clips_and_so_are_clips_again(codes: Path, odd_clips: Path, tokenizer) -> None:
    found = {Path(clip.name).stem: clip for clip in ClipCodesFolder(codes, tokenizer.fingerprint())}
    assert found.keys() == SHAPES.keys()
    for index, (name, shape) in enumerate(SHAPES.items()):
        (codes_wanted,) = tokenizer.encode_clips([original(odd_clips, name).video_CTHW()])
        clip = found[name]
        assert clip.codes.codes_THW.equal(codes_wanted.codes_THW)
        assert (clip.codes.num_frames, clip.codes.height, clip.codes.width) == shape
        assert (clip.caption, clip.fps) == (f"class {index}", 5 + index)
        pieces = list(clip.decoded(tokenizer))
        frames_THWC = torch.cat([piece.frames_THWC for piece in pieces])
        wanted_THWC = Clip.from_video(tokenizer.decode_clips([clip.codes])[0], clip.fps).frames_THWC
        assert frames_THWC.shape == wanted_THWC.shape and pieces[0].fps == clip.fps
        assert (frames_THWC.int() - wanted_THWC.int()).abs().max() <= 1  # pixels of chunks agree to 1e-5


def test_pieces_of_any_size_give_the_same_codes(odd_clips: Path, tokenizer: VideoTokenizer) -> None:
    video_CTHW = original(odd_clips, "long").video_CTHW()
    wanted = encode_pieces(tokenizer, [video_CTHW]).codes_THW
    for size in (1, 3, 32, 69):
        assert encode_pieces(tokenizer, video_CTHW.split(size, dim=1)).codes_THW.equal(wanted)


def test_size_and_rate_can_be_asked_for(odd_clips: Path, tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    write_clip_codes(odd_clips, tokenizer, tmp_path / "whole", size=(16, 8), fps=2.5)
    for clip in ClipCodesFolder(tmp_path / "whole"):
        assert (clip.codes.height, clip.codes.width, clip.fps) == (16, 8, 2.5)


def test_another_tokenizer_is_refused(codes: Path, tmp_path: Path, videogpt) -> None:
    said = videogpt("detokenize", codes, "--tokenizer", "natural", "--output", tmp_path / "again", code=2).err
    assert "was made by tokenizer" in said and not (tmp_path / "again").exists()


def test_codes_that_do_not_fit_their_clip_are_refused(tokenizer: VideoTokenizer) -> None:
    wrong = ClipCodes(codes_THW=torch.zeros(2, 2, 2, dtype=torch.long), num_frames=6, height=16, width=16)
    with pytest.raises(ValueError, match=r"take \(3, 2, 2\) codes"):
        next(CodedClip("a.mp4", "", wrong, 8.0).decoded(tokenizer))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def without_a_line(path: Path) -> None:
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")


def with_other_words(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('"num_frames": 70', '"num_frames": -70')
    path.write_text(text.replace("videogpt-clip-codes", "videogpt-token-shards"), encoding="utf-8")


def altered(path: Path) -> None:
    codes = np.load(path)
    codes[-1] = 65535
    np.save(path, codes)


DAMAGES = {
    "codes.npy": (cut, Path.unlink, altered),
    "clips.jsonl": (cut, without_a_line, with_other_words),
    "manifest.json": (cut, with_other_words),
}


@pytest.mark.parametrize("name, damage", [(name, damage) for name, damages in DAMAGES.items() for damage in damages])
def test_damage_is_refused_by_name(name: str, damage, damaged: Path) -> None:
    damage(damaged / name)
    with pytest.raises(ValueError, match=name):
        for clip in ClipCodesFolder(damaged):
            assert clip.codes.num_frames


def test_inspect_names_an_altered_clip(damaged: Path) -> None:
    altered(damaged / "codes.npy")
    (fault,) = inspect_path(damaged).faults
    assert "one.avi is impossible" in fault
