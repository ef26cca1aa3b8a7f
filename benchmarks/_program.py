"""What the benchmarks share: options, turns at the clock, the check that comes before it, and what comes of it.

args = options(__doc__, quick="fewer rounds").parse_args()
require_near(ours(), exact, 1e-5)
time_of_ours, time_of_rival = medians([ours, rival], rounds=7)
keep(report, args.output)                  # what there is, when the program is interrupted
publish(report, args.output)
"""

import argparse
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from timeit import timeit

from torch import Tensor

from videogpt.evaluation.report import Report


def options(doc: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark; `quick` says what --quick leaves out."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the figures to this file")
    return parser


def command() -> str:
    """What was typed, for the report."""
    return " ".join(["python", *sys.argv])


def publish(report: Report, output: Path | None) -> None:
    """Print the table, and write the file if there is to be one."""
    print(report.table(), flush=True)
    if output:
        report.write(output)


def keep(report: Report, output: Path | None) -> None:
    """From now on, publish the rows that there are when the program is interrupted, and end it."""

    def end(*_: object) -> None:
        publish(report, output)
        print("interrupted: rows are missing", file=sys.stderr)
        raise SystemExit(130)

    signal.signal(signal.SIGINT, end)


def in_turns(
    runs: list[Callable[[], object]], rounds: int, repeats: int = 1, clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Milliseconds of one call of each, by round; they take turns, so that a busy machine disturbs all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for own, run in zip(times, runs, strict=True):
            own.append(timeit(run, timer=clock, number=repeats) * 1e3 / repeats)
    return times


def medians(runs: list[Callable[[], object]], rounds: int, repeats: int = 1) -> list[float]:
    """Milliseconds of one call of each, wall time: the median of the rounds."""
    return [statistics.median(own) for own in in_turns(runs, rounds, repeats)]


def require_near(found: Tensor, exact: Tensor, tolerance: float) -> None:
    """End the program where a result is wrong."""
    exact = exact.detach()
    error = float((found.detach().to(exact.dtype) - exact).norm() / exact.norm())
    if not error < tolerance:
        raise SystemExit(f"wrong result: relative error {error:.2e} exceeds {tolerance:.0e}")


def peak_megabytes() -> float:
    """Largest resident set of this process until now."""
    status = Path("/proc/self/status")  # Linux counts what a parent held before it started us, elsewhere
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024


@contextmanager
def leave_out(what: str, error: type[Exception] | tuple[type[Exception], ...] = RuntimeError) -> Iterator[None]:
    """Pass over what this machine cannot run, and say so on stderr."""
    try:
        yield
    except error as found:
        print(f"{what} left out: {str(found).splitlines()[0]}", file=sys.stderr)
