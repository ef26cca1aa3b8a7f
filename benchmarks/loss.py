"""Memory and time of cross-entropy over many codes: in blocks, against logits of all codes in memory at once.

    python benchmarks/loss.py [--quick] [--codes 64000] [--rows 2560] [--output FILE.json]

Forward and backward from hidden states of width 192 to the gradients of states and weight. Memory is what a fresh
process needs beyond its input at its peak, gradients included: on a CPU of its resident set, on a GPU of torch's
allocator. Values and gradients are compared with those of all logits before anything is timed. A ratio above 1 is in
our favour.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from _program import command, medians, options, publish, require_near
from torch import Tensor

from videogpt.evaluation.report import Report
from videogpt.model.cross_entropy import cross_entropy

# R rows, D width, V codes

WIDTH = 192
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
RIVAL, CHUNKED = "all logits at once", "torch's linear_cross_entropy, chunked"
STATUS = Path("/proc/self/status")

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def all_logits(hidden_RD: Tensor, weight_VD: Tensor, targets_R: Tensor) -> Tensor:
    """The plain way."""
    return F.cross_entropy(F.linear(hidden_RD, weight_VD).float(), targets_R, reduction="none")


def chunked_by_torch(hidden_RD: Tensor, weight_VD: Tensor, targets_R: Tensor) -> Tensor:
    """What torch has since 2.13; of the sum alone, as it takes gradients in its forward pass."""
    return F.linear_cross_entropy(
        hidden_RD, weight_VD, targets_R, reduction="sum", options=torch.nn.LinearCrossEntropyOptions()
    )


WAYS: dict[str, Loss] = {"blocks": cross_entropy, RIVAL: all_logits, CHUNKED: chunked_by_torch}


def scene(rows: int, codes: int, dtype: torch.dtype, *, exact: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, weight and targets; `exact` holds the same numbers in float32."""
    kept = torch.float32 if exact else dtype
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    hidden_RD = torch.randn(rows, WIDTH, device=device).to(dtype).to(kept).requires_grad_()
    weight_VD = (torch.randn(codes, WIDTH, device=device) * WIDTH**-0.5).to(dtype).to(kept).requires_grad_()
    return hidden_RD, weight_VD, torch.randint(codes, (rows,), device=device)


def gradients(loss: Loss, scene: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The sum of the nats, and its gradients."""
    nats = loss(*scene).sum()
    return (nats.detach(), *torch.autograd.grad(nats, scene[:2]))


def peak_megabytes(name: str, *sizes: object) -> float:
    """What a process of its own needs beyond the input."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, *sizes))


def _peak(name: str, rows: int, codes: int, dtype: torch.dtype) -> float:
    torch.set_num_threads(1)
    gradients(WAYS[name], scene(8, 300, dtype))  # libraries are loaded before the clock starts
    inputs = scene(rows, codes, dtype)
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        gradients(WAYS[name], inputs)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _resident("VmRSS")
    gradients(WAYS[name], inputs)
    return _resident("VmHWM") - before


def _resident(key: str) -> float:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(key)) / 1024


def main() -> None:
    parser = options(__doc__, quick="a quarter of the rows, one round, float32 alone")
    parser.add_argument("--codes", type=int, default=64_000, metavar="V", help="codes (64000)")
    parser.add_argument("--rows", type=int, default=2560, metavar="R", help="rows (2560, eight clips of 320 codes)")
    args = parser.parse_args()
    rows, rounds = (args.rows // 4, 1) if args.quick else (args.rows, 5)
    what = f"{rows} rows of width {WIDTH}, {args.codes} codes, forward and backward, one thread; medians of {rounds}"
    report = Report.start(command(), {"what": what, "memory": "peak beyond the input, gradients of both included"})
    torch.set_num_threads(1)
    for dtype in (torch.float32,) if args.quick else (torch.float32, torch.bfloat16):
        measure(report, rows, args.codes, dtype, rounds)
    publish(report, args.output)


def measure(report: Report, rows: int, codes: int, dtype: torch.dtype, rounds: int) -> None:
    """Ours against each way that this torch has and that is right."""
    kind, sizes = str(dtype).removeprefix("torch."), (rows, codes, dtype)
    report.add(f"{kind}: logits of all codes, float32", rows * codes * 4 / 2**20, "MiB")
    inputs, own_peak = scene(*sizes), peak_megabytes("blocks", *sizes)
    exact = gradients(all_logits, scene(*sizes, exact=True))
    check(gradients(cross_entropy, inputs), exact, dtype)
    for name in (RIVAL, *([] if rounds == 1 else [CHUNKED])):
        try:
            check(gradients(WAYS[name], inputs), exact, dtype)
        except (AttributeError, SystemExit) as error:  # torch has none, or one that is wrong
            print(f"{name}, {kind}, left out: {error}", file=sys.stderr)
            continue
        report.add(f"{kind}: peak memory", own_peak, "MiB", rival=name, rival_value=peak_megabytes(name, *sizes))
        ways = (cross_entropy, WAYS[name])
        runs: list[Callable[[], object]] = [partial(gradients, way, inputs) for way in ways]
        own, other = medians(runs, 1 if name == CHUNKED else rounds)
        report.add(f"{kind}: time", own, "ms", rival=name, rival_value=other)


def check(found: Iterable[Tensor], exact: Iterable[Tensor], dtype: torch.dtype) -> None:
    for x, y in zip(found, exact, strict=True):
        require_near(x, y, TOLERANCE[dtype])


if __name__ == "__main__":
    main()
