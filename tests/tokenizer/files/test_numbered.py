"""Names of files that are added to a folder: short, harmless, and no number twice."""

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt_tokenizer.files.numbered import next_number, slug


@settings(deadline=None)
@given(st.text())
def test_a_slug_is_short_and_harmless(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug(text))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "prompt"),
        ("\U0001f600", "prompt"),
        ("Caf\u00e9 -- ol\u00e9!", "cafe-ole"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 10_000, "x" * 40),
        ("39 characters and then a space come here, and more", "39-characters-and-then-a-space-come-here"),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_numbers_go_on_from_the_highest_and_a_claim_leaves_nothing(tmp_path: Path) -> None:
    for name in ("0041-mine.txt", ".0042-half.mp4.partial-1", "0050.txt", "report-0099.json"):
        (tmp_path / name).touch()
    with next_number(tmp_path) as first, next_number(tmp_path) as second:
        assert (first, second) == ("0051", "0052")
    with next_number(tmp_path) as third:  # nothing was written under the others
        assert third == "0051"
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_killed_writer_left_goes_and_its_number_is_free_again(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from videogpt_tokenizer.files.numbered import next_number
from videogpt_tokenizer.files.replacing import replacement_of
with next_number(Path({str(tmp_path)!r})) as number:
    with replacement_of(Path({str(tmp_path)!r}) / f"{{number}}-a.mp4") as partial:
        partial.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} >= {".0001.claim", ".0001-a.mp4.partial-0"}
    with next_number(tmp_path) as number:
        assert number == "0001"
    assert not list(tmp_path.iterdir())


def test_racing_writers_never_share_a_number(tmp_path: Path) -> None:
    def write(content: str) -> str:
        with next_number(tmp_path) as number:
            (tmp_path / f"{number}-{content}").touch()
        return number

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(write, map(str, range(64))))) == 64
