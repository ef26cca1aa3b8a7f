"""Codes of clips are described row by row."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from videogpt.inspection.inspect import inspect_path
from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_token_shards_and_altered_ones(clips: Path, tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=5, size=16)
    found = inspect_path(tmp_path / "tokens")
    assert "rows: 2 of 2x2x2 codes below 1000" in found.lines and not found.faults
    codes = np.load(tmp_path / "tokens" / "codes.npy")
    codes[1] = 1000
    np.save(tmp_path / "tokens" / "codes.npy", codes)
    assert len(inspect_path(tmp_path / "tokens").faults) == 1


def test_tokens_are_inspected_without_the_trainer(clips: Path, tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=5, size=16)
    code = "import sys; sys.modules['lightning'] = None; from videogpt.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "inspect", str(tmp_path / "tokens")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
