"""Token shards are written whole or not at all; windows are cut where they should be, bad clips left out and named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.tokens.reader import TokenShardReader
from videogpt.tokens.shards import TokenShardsManifest
from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_manifest_describes_the_rows(shards: Path, tokenizer: VideoTokenizer) -> None:
    manifest = TokenShardsManifest.read(shards)
    assert manifest.tokenizer_fingerprint == tokenizer.fingerprint()
    assert manifest.grid == tokenizer.grid(9, 16, 24) == (3, 2, 3)
    assert (manifest.num_clips, manifest.num_frames, manifest.fps) == (7, 9, 8)
    assert manifest.versions["torch"] == torch.__version__
    assert sorted(path.name for path in shards.iterdir()) == ["captions.jsonl", "codes.npy", "manifest.json"]


def test_small_codebook_takes_a_byte_and_another_two(shards: Path, clips: Path, tmp_path, make_tokenizer) -> None:
    tokenize_clips(clips, make_tokenizer(levels=(4, 4, 4, 4)), tmp_path / "tokens", num_frames=9, size=16)
    assert np.load(tmp_path / "tokens" / "codes.npy").dtype == np.uint8
    assert np.load(shards / "codes.npy").dtype == np.uint16


@pytest.mark.parametrize(
    "count, frames, starts",
    [(1, 18, [0]), (2, 18, [0, 13]), (4, 18, [0, 4, 9, 13]), (9, 6, [0, 1]), ("all", 18, [0, 6, 13]), ("all", 5, [0])],
)
def test_windows_of_a_long_clip(tmp_path, tokenizer: VideoTokenizer, random_clip, count, frames, starts) -> None:
    clip = random_clip(frames, 8, 8, fps=5)
    (tmp_path / "clips").mkdir()
    clip.write(tmp_path / "clips" / "a.avi")
    tokenize_clips(tmp_path / "clips", tokenizer, tmp_path / "tokens", num_frames=5, size=8, clips_per_source=count)
    reader = TokenShardReader(tmp_path / "tokens")
    lines = [json.loads(line) for line in (tmp_path / "tokens" / "captions.jsonl").read_text().splitlines()]
    assert [line["first_frame"] for line in lines] == starts
    for row, start in enumerate(starts):
        codes = tokenizer.encode(clip.video_CTHW()[None, :, start : start + 5])
        assert torch.equal(reader[row].codes_THW, codes[0])


def test_bad_clips_are_left_out_and_named(clips: Path, tokenizer, tmp_path, caplog) -> None:
    source = shutil.copytree(clips, tmp_path / "clips")
    (source / "2.avi").write_bytes((source / "2.avi").read_bytes()[:400])
    manifest = tokenize_clips(source, tokenizer, tmp_path / "tokens", num_frames=13, size=16, max_bad_share=0.3)
    assert manifest.skipped == ["0.avi", "2.avi"]  # too short; cut off
    assert "2 of 7 clips were left out" in caplog.text and "12 of 13 frames" in caplog.text
    reader = TokenShardReader(tmp_path / "tokens")
    assert [caption[:6] for caption in reader.captions] == [f"clip {i}" for i in (1, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_frames": 17}, "5 of the first 5 clips .* max_bad_share=0.6 .* 12 of 17 frames"),
        ({"num_frames": 10}, "nearest counts are 9 and 13"),
        ({"size": 20}, "height 20 is not a multiple of 8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"clips_per_source": 0}, "clips_per_source=0"),
    ],
)
def test_refusals_leave_nothing(clips: Path, tokenizer, tmp_path, options: dict, message: str) -> None:
    options = {"num_frames": 9, "size": 16, "max_bad_share": 0.6, **options}
    with pytest.raises(ValueError, match=message):
        tokenize_clips(clips, tokenizer, tmp_path / "tokens", **options)
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(clips: Path, tokenizer: VideoTokenizer, tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 7
        if done == 4:
            assert len(list(tmp_path.iterdir())) == 2  # the unfinished folder, under another name, and its lock
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=9, size=16, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_never_writes_over_a_folder(clips: Path, shards: Path, tokenizer: VideoTokenizer) -> None:
    before = (shards / "codes.npy").read_bytes()
    with pytest.raises(ValueError, match="not an empty folder"):
        tokenize_clips(clips, tokenizer, shards, num_frames=9, size=16)
    assert (shards / "codes.npy").read_bytes() == before
