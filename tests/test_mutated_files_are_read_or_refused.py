"""Some of the mutated files of `fuzz.py`, the same each time."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).with_name("fuzz.py")


def test_two_hundred_mutated_files() -> None:
    command = [sys.executable, str(FUZZ), "--count", "200", "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 faults") == done.stdout.count(" refused ") > 20
