"""All that a GPU has to show, within a budget of seconds: tests, then benchmarks, most important first.

    make gpu                                        # in .venv, which is set up first
    make gpu BIN=/usr/bin BUDGET=300 OUT=results    # by another Python as it is: no network, its own torch and triton
    python benchmarks/_on_gpu.py --wheels FOLDER    # what that Python lacks, as wheels, is installed to the side

Every part has a limit and a log of its own; `summary.txt` grows by a line as each ends. A part that takes too long is
interrupted and keeps the rows it has; one for which no time is left is named. Stopping this program does the same.
Refuses a machine without CUDA, unless it is to be rehearsed. Needs nothing but Python.
"""

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST, GRACE = 20, 10
"""Seconds that a part needs at least, and that it has to finish once it is interrupted."""
WHAT_IS_HERE = """
import torch, triton
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", torch.__version__, triton.__version__)
"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One command."""

    name: str
    limit: float
    """Seconds after which it is interrupted."""
    words: list[str]
    """Arguments of Python."""


def parts(output: Path, parallel: bool) -> list[Part]:
    """All parts, most important first: right before fast, all in short before any in full."""
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    tests += ["-n", "6"] if parallel else []

    def benchmark(name: str, limit: float, quick: bool, *more: str) -> Part:
        label = f"{name}-quick" if quick else name
        words = [f"benchmarks/{name}.py", "--output", str(output / f"{label}.json"), *more]
        return Part(name=label, limit=limit, words=[*words, "--quick"] if quick else words)

    return [
        Part(name="gpu-tests", limit=150, words=[*tests, "-m", "gpu", "tests"]),
        benchmark("attention", 70, True),
        benchmark("decode", 70, True),
        benchmark("sampling", 60, True, "--parts", "clips", "--sizes", "3M", "350M"),
        Part(name="kernels-compiled", limit=110, words=[*tests, "-m", "not gpu", "tests/kernels"]),
        benchmark("decode", 90, False),
        benchmark("attention", 90, False),
        benchmark("sampling", 120, False, "--parts", "clips", "memory"),
    ]


class Stopped(BaseException):
    """Somebody wants this program to end."""


def run(todo: list[Part], output: Path, budget: float, environment: dict[str, str]) -> bool:
    """Run parts one by one; whether all of them ended well. Stopped: the running part is interrupted, too."""
    end, fine = time.monotonic() + budget, True
    for part in todo:
        left = end - time.monotonic() - GRACE
        if left < LEAST:
            _tell(output, f"{part.name}: no time left")
            fine = False
            continue
        began, log = time.monotonic(), output / f"{part.name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *part.words],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stopped = False
            try:
                process.wait(min(part.limit, left))
            except subprocess.TimeoutExpired:
                _interrupt(process)
            except Stopped:
                stopped = True
                _interrupt(process)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        took = time.monotonic() - began
        _tell(output, f"{part.name}: exit {process.returncode} after {took:.0f} s: {lines[-1][:160]}")
        fine &= process.returncode == 0
        if stopped:
            _tell(output, "stopped")
            return False
    return fine


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, then for good, with all that it started."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tell(output: Path, line: str) -> None:
    print(line, flush=True)
    with (output / "summary.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _environment(wheels: Path | None) -> dict[str, str]:
    """This checkout in front of all that is installed, and behind it what wheels bring."""
    paths = [ROOT, ROOT / "tokenizer", ROOT / "kernels"]
    if wheels is not None:
        site = Path(tempfile.mkdtemp())
        offline = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "--target", str(site)]
        files = [str(path) for path in sorted(wheels.glob("*.whl"))]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *offline, *files], check=True)
        paths.append(site)
    given = os.environ.get("PYTHONPATH")
    joined = os.pathsep.join([*map(str, paths), *([given] if given else [])])
    return os.environ | {"PYTHONPATH": joined, "PYTHONUNBUFFERED": "1"}


def _stop(*_: object) -> None:
    raise Stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=480, help="seconds in which it ends by itself")
    parser.add_argument("--output", type=Path, help="folder; default benchmarks/results/ and the GPU's name")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this Python lacks")
    parser.add_argument("--rehearse", action="store_true", help="go on without CUDA")
    arguments = parser.parse_args()
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        environment = _environment(arguments.wheels)
        asked = [sys.executable, "-c", WHAT_IS_HERE]
        found = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True)
        if found.returncode:
            raise SystemExit(f"{sys.executable} has no torch and triton: {found.stderr.strip().splitlines()[-1]}")
        here = found.stdout.strip()
        if here.startswith("cpu ") and not arguments.rehearse:
            print("there is no CUDA here: run this on a machine with a GPU, or give --rehearse", file=sys.stderr)
            raise SystemExit(2)
        name = re.sub(r"\W+", "-", here.rsplit(" ", 2)[0].lower())
        output = (arguments.output or ROOT / "benchmarks" / "results" / name).resolve()
        output.mkdir(parents=True, exist_ok=True)
        (output / "summary.txt").write_text("", encoding="utf-8")
        _tell(output, here)
        todo = parts(output, parallel=importlib.util.find_spec("xdist") is not None)
        fine = run(todo, output, arguments.budget - (time.monotonic() - began), environment)
    except Stopped:
        raise SystemExit(1) from None
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
