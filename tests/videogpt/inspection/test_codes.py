"""Codes of clips are described row by row."""

from pathlib import Path

import numpy as np

from videogpt.inspection.inspect import inspect_path
from videogpt.tokens.writer import tokenize_clips


def test_token_shards_and_altered_ones_also_without_the_trainer(clips: Path, tokenizer, tmp_path, run_python) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=5, size=16)
    found = inspect_path(tmp_path / "tokens")
    assert "rows: 2 of 2x2x2 codes below 1000" in found.lines and not found.faults
    program = "from videogpt.cli import main; sys.exit(main(sys.argv[1:]))"
    run_python(program, "inspect", str(tmp_path / "tokens"), without=["lightning"])
    codes = np.load(tmp_path / "tokens" / "codes.npy")
    codes[1] = 1000
    np.save(tmp_path / "tokens" / "codes.npy", codes)
    assert len(inspect_path(tmp_path / "tokens").faults) == 1
