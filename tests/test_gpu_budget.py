"""`make gpu` ends within its budget and keeps what there is: rehearsed with short programs in place of its parts."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "_on_gpu.py"
SLOW = """
import sys, time
sys.path.insert(0, "benchmarks")
from pathlib import Path
from _program import keep
from videogpt.evaluation.report import Report

report = Report.start("slow", {})
keep(report, Path(sys.argv[1]))
report.add("first row", 1.0, "s")
Path(sys.argv[1]).with_name("ready").touch()
time.sleep(60)
report.add("second row", 2.0, "s")
"""
DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


@pytest.fixture
def on_gpu(monkeypatch):
    spec = importlib.util.spec_from_file_location("_on_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_on_gpu", module)
    spec.loader.exec_module(module)
    return module


def program(on_gpu, name: str, code: str, limit: float = 60.0, *arguments: str):
    return on_gpu.Part(name=name, limit=limit, words=["-c", code, *arguments])


def environment() -> dict[str, str]:
    paths = [ROOT, ROOT / "tokenizer", ROOT / "kernels"]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


def test_every_part_has_its_line_and_its_log(on_gpu, tmp_path):
    todo = [program(on_gpu, "well", "print('all is well')"), program(on_gpu, "ill", "raise SystemExit('ill indeed')")]
    assert not on_gpu.run(todo, tmp_path, 60.0, environment())
    well, ill = (tmp_path / "summary.txt").read_text().splitlines()
    assert well.startswith("well: exit 0 ") and well.endswith(": all is well")
    assert ill.startswith("ill: exit 1 ") and ill.endswith(": ill indeed")
    assert (tmp_path / "well.log").read_text() == "all is well\n"
    assert on_gpu.run(todo[:1], tmp_path, 60.0, environment())


def test_a_part_that_does_not_listen_ends_at_its_limit_and_later_ones_still_run(on_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "GRACE", 1)
    todo = [program(on_gpu, "deaf", DEAF, 1.0), program(on_gpu, "next", "print('still here')")]
    began = time.monotonic()
    on_gpu.run(todo, tmp_path, 60.0, environment())
    assert time.monotonic() - began < 20.0
    deaf, following = (tmp_path / "summary.txt").read_text().splitlines()
    assert deaf.startswith(f"deaf: exit {-signal.SIGKILL} ") and following.endswith(": still here")


def test_what_no_time_is_left_for_is_named(on_gpu, tmp_path):
    assert not on_gpu.run([program(on_gpu, "late", "print('late')")], tmp_path, 25.0, environment())
    assert (tmp_path / "summary.txt").read_text() == "late: no time left\n"


@pytest.mark.slow
def test_an_interrupted_benchmark_keeps_its_rows(tmp_path):
    output = tmp_path / "slow.json"
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(output)], cwd=ROOT, env=environment())
    deadline = time.monotonic() + 60.0
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert [row["name"] for row in json.loads(output.read_text())["rows"]] == ["first row"]


def test_the_most_important_parts_come_first(on_gpu, tmp_path):
    names = [part.name for part in on_gpu.parts(tmp_path, parallel=False)]
    assert names[0] == "gpu-tests"
    for name in ("attention", "decode", "sampling"):
        assert names.index(f"{name}-quick") < names.index(name)


def test_without_cuda_it_says_so(tmp_path):
    words = [sys.executable, str(SCRIPT), "--output", str(tmp_path)]
    asked = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(words, capture_output=True, text=True, env=asked)
    assert found.returncode == 2 and "--rehearse" in found.stderr
    assert list(tmp_path.iterdir()) == []
