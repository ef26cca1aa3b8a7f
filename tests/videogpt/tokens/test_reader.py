"""Rows are what the tokenizer says; folders that are damaged or of another tokenizer are refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.tokens.reader import TokenShardReader
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_rows_are_the_tokenizers_codes_and_no_others(shards: Path, clips: Path, tokenizer: VideoTokenizer) -> None:
    reader = TokenShardReader(shards, tokenizer.fingerprint())
    assert len(reader) == 7
    for i in range(7):
        video = Clip.read(clips / f"{i}.avi", num_frames=9).video_CTHW()
        assert torch.equal(reader[i].codes_THW, tokenizer.encode(video[None])[0])
        assert reader[i].caption == f"clip {i}\n\u2028 \u7ea2"
    with pytest.raises(IndexError):
        reader[7]
    with pytest.raises(ValueError, match=f"was made by tokenizer {tokenizer.fingerprint()}, not by another"):
        TokenShardReader(shards, "another")


@pytest.mark.parametrize("name", ["manifest.json", "codes.npy", "captions.jsonl"])
def test_missing_and_truncated_files_are_refused(damaged: Path, name: str) -> None:
    content = (damaged / name).read_bytes()
    for keep in (len(content) - 30, 10, 0):
        (damaged / name).write_bytes(content[:keep])
        with pytest.raises(ValueError, match=f"{name}.*tokenize the clips again"):
            TokenShardReader(damaged)
    (damaged / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        TokenShardReader(damaged)


def test_altered_folders_are_refused(damaged: Path) -> None:
    codes = np.load(damaged / "codes.npy")
    np.save(damaged / "codes.npy", codes[:, :2])
    with pytest.raises(ValueError, match=r"uint16 \(7, 2, 2, 3\), its manifest says uint16 \(7, 3, 2, 3\)"):
        TokenShardReader(damaged)
    np.save(damaged / "codes.npy", np.full_like(codes, 1000))
    with pytest.raises(ValueError, match="row 0 is impossible"):
        TokenShardReader(damaged)[0]


def test_reader_pickles_small(shards: Path) -> None:
    reader = TokenShardReader(shards)
    data = pickle.dumps(reader)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data)[3].codes_THW, reader[3].codes_THW)
