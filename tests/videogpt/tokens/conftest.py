"""Seven clips as token shards, made by a tiny tokenizer with random weights."""

import json
import shutil
from pathlib import Path

import pytest

from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="module")
def clips(tmp_path_factory, random_clip) -> Path:
    """Seven lossless clips of 12 to 18 frames and a table of captions."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(7):
        random_clip(12 + i, 16, 24, seed=i).write(folder / f"{i}.avi")
        rows.append(json.dumps({"file_name": f"{i}.avi", "caption": f"clip {i}\n\u2028 \u7ea2"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, clips: Path, tokenizer: VideoTokenizer) -> Path:
    output = tmp_path_factory.mktemp("shards") / "tokens"
    tokenize_clips(clips, tokenizer, output, num_frames=9, size=(16, 24), batch_size=3)
    return output


@pytest.fixture
def damaged(shards: Path, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(shards, tmp_path / "damaged")
