"""Memory: what is asked for before it is taken, and how near the estimate is to what is taken."""

import subprocess
import sys
from pathlib import Path

import pytest

from videogpt_tokenizer import checks
from videogpt_tokenizer.checks import check_memory, free_memory
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

PEAKS = """
import torch
from pathlib import Path
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))

torch.set_num_threads(1)
tokenizer = VideoTokenizer.from_pretrained("natural")
for _ in tokenizer.through([torch.zeros(3, 5, 32, 32)]): pass
for frames, height, width in [(1, 720, 1280), (1, 2000, 400), (5, 304, 1000)]:
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in tokenizer.through(torch.zeros(3, frames, height, width).split(4, dim=1)): pass
    print(tokenizer.memory_of(min(frames, 4), height, width), status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the largest memory anew")
def test_memory_is_bounded_and_about_what_is_said_before():
    found = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, timeout=300)
    peaks = [tuple(map(int, line.split())) for line in found.stdout.splitlines()]
    assert len(peaks) == 3
    assert peaks[0][0] / 3 < peaks[0][1]  # those after it find memory that it leaves
    for said, peak in peaks:
        assert peak < 1.2 * said


@pytest.mark.parametrize(("height", "width", "most"), [(1080, 1920, 1.0), (2160, 3840, 2.5), (3840, 2160, 2.5)])
def test_large_pictures_take_no_more_gibibytes_than_these(height, width, most):
    natural = VideoTokenizer.from_pretrained("natural")
    there, back = natural.memory_of(1, height, width, back=False), natural.memory_of(1, height, width)
    assert there is not None and back is not None and there < back < most * 2**30


def test_a_clip_that_does_not_fit_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(checks, "free_memory", lambda: 3 * 2**30)
    check_memory(3 * 2**30, "clip.mp4", 1080, 1920)
    with pytest.raises(
        ValueError, match=r"^clip.mp4: pictures of 1920 x 1080 take about 4,096 MiB, and 3,072 MiB are free"
    ):
        check_memory(4 * 2**30, "clip.mp4", 1080, 1920)


@pytest.mark.parametrize(("needed", "free"), [(None, 0), (2**50, None), (None, None)])
def test_what_is_not_known_refuses_nothing(monkeypatch, needed, free):
    monkeypatch.setattr(checks, "free_memory", lambda: free)
    check_memory(needed, "clip.mp4", 8, 8)


def test_free_memory_is_that_of_the_machine_and_of_its_control_group(monkeypatch):
    files = {"/proc/meminfo": "MemTotal:  900 kB\nMemAvailable:  500 kB\n"}

    def read(path: Path, *_: object, **__: object) -> str:
        if str(path) not in files:
            raise FileNotFoundError(str(path))
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    assert free_memory() == 500 * 1024
    stat = "anon 10\ninactive_file 60\nactive_file 40\n"
    group = {"memory.max": "max", "memory.current": "7000", "memory.stat": stat}
    files |= {f"/sys/fs/cgroup/{name}": text for name, text in group.items()}
    assert free_memory() == 500 * 1024
    files["/sys/fs/cgroup/memory.max"] = "10000"
    assert free_memory() == 3100
    files.clear()
    assert free_memory() is None
