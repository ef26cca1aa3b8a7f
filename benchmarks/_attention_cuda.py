"""The Triton kernels of `videogpt_kernels.attention` on a GPU, against all that one would use in their place.

Run by `benchmarks/attention.py`. Rivals: SDPA's flash and cuDNN kernels, plainly causal, which no mask of ours is
as soon as there is a text or a window; FlexAttention with the same mask, its block mask kept or made anew; SDPA with
the mask as a tensor. A rival that cannot run is left out, and said so on stderr.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from _program import command, keep, leave_out, require_near
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from videogpt.evaluation.report import Report
from videogpt_kernels import Document, TileWindow, Visibility, attention

# B batch, H heads, M query rows, N rows, D head dimension
DTYPE = torch.bfloat16
TEXT = 128
CHECKED_ROWS = 256
LARGEST_MASK = 20_000  # rows; beyond, the tensor alone takes gigabytes
TOLERANCE = 5e-3
PROTOCOL = (
    "bfloat16, normal random inputs; the median of triton.testing.do_bench, which empties the L2 cache between calls; "
    "forward, and backward alone; before any timing, outputs and gradients of {rows} rows at the start, in the middle "
    "and at the end are within 5e-3 of float32; TFLOP/s count visible scores only (4 D each forward, 10 D backward)"
)
Run = Callable[[], Any]


class _Problem(NamedTuple):
    """A mask at a size."""

    name: str
    visibility: Visibility
    batch: int
    heads: int
    rows: int


def problems(quick: bool) -> Iterator[_Problem]:
    """Causal, prefix and window, packed, window of tiles; about 4, 17, 20 and 64 thousand rows."""
    frame, lengths = 1024, torch.tensor([100], dtype=torch.int32)
    yield _Problem("causal, 4k", Visibility.causal(4), 4, 16, 4096)
    windowed = Visibility.prefix_body(lengths, TEXT, frame_tokens=frame, window_frames=4)
    yield _Problem("prefix + last 4 of 17 frames, 17k", windowed, 1, 16, TEXT + 1 + 17 * frame)
    tiles = TileWindow(tile_tokens=64, tiles_high=5, tiles_wide=8, reach_high=1, reach_wide=1)
    rules = {"frame_tokens": tiles.frame_tokens, "window_frames": 4, "tile_window": tiles}
    yield _Problem("tile window, 20k", Visibility.prefix_body(lengths, TEXT, **rules), 1, 16, TEXT + 1 + 8 * 2560)
    if quick:
        return
    yield _Problem("causal, 17k", Visibility.causal(1), 1, 16, 17 * frame)
    documents = [[Document(40 + 7 * i, 1000 + 300 * i) for i in range(8)]]
    yield _Problem("8 documents, 17k", Visibility.packed(documents), 1, 16, 17 * frame)
    yield _Problem("causal, 64k", Visibility.causal(1), 1, 8, 65536)
    yield _Problem("prefix + last 4 of 63 frames, 64k", windowed, 1, 8, TEXT + 1 + 63 * frame)


def measure(quick: bool, output: Path | None) -> Report:
    """A row for every problem, width, direction and rival."""
    report = Report.start(command(), {"what": PROTOCOL.format(rows=CHECKED_ROWS)})
    keep(report, output)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    ceiling = matrix_ceiling()
    report.add("matrix product of 8192 x 8192, the ceiling", ceiling, "TFLOP/s", lower_is_better=False)
    for width in (64, 128):
        for problem in problems(quick):
            _compare_one(report, problem, width, ceiling)
    return report


def matrix_ceiling() -> float:
    """TFLOP/s of the largest matrix product that torch does, on random numbers."""
    x, y = torch.randn(2, 8192, 8192, device="cuda", dtype=DTYPE)
    return 2 * 8192**3 / milliseconds(lambda: x @ y) / 1e9


def milliseconds(run: Run) -> float:
    """Median time of a call."""
    from triton.testing import do_bench

    return float(do_bench(run, return_mode="median"))  # type: ignore[arg-type] - one number, of one mode


def _compare_one(report: Report, problem: _Problem, width: int, ceiling: float) -> None:
    torch._dynamo.reset()  # it gives up on a function that was compiled for too many shapes, with one line of warning
    visibility = problem.visibility.to("cuda")
    shape = (problem.batch, problem.heads, problem.rows, width)
    q, k, v = (torch.randn(shape, device="cuda", dtype=DTYPE, requires_grad=True) for _ in range(3))
    up = torch.randn(shape, device="cuda", dtype=DTYPE)
    _check(visibility, q, k, v)
    scores = visible_scores(visibility, problem.rows) * problem.heads
    ours = lambda: attention(q, k, v, visibility, impl="triton")  # noqa: E731
    times = _both_ways(ours, (q, k, v), up)
    name = f"{problem.name}, heads of {width}"
    for direction, time, per_score in zip(("forward", "backward"), times, (4, 10), strict=True):
        speed = scores * per_score * width / time / 1e9
        report.add(f"{name}: {direction}", speed, "TFLOP/s", lower_is_better=False)
        report.add(f"{name}: {direction}, share of the ceiling", 100 * speed / ceiling, "%", lower_is_better=False)
    for rival, make_ready in _rivals(visibility, q, k, v).items():
        with leave_out(f"{name}: {rival}"):
            rival_times = _both_ways(make_ready(), (q, k, v), up)
            for direction, time, rival_time in zip(("forward", "backward"), times, rival_times, strict=True):
                report.add(f"{name}: {direction}", time, "ms", rival=rival, rival_value=rival_time)


def _both_ways(run: Run, leaves: tuple[Tensor, ...], up: Tensor) -> tuple[float, float]:
    """Milliseconds forward, and backward alone."""
    with torch.no_grad():
        forward = milliseconds(run)
    out = run()
    return forward, milliseconds(lambda: torch.autograd.grad(out, leaves, up, retain_graph=True))


def _rivals(visibility: Visibility, q: Tensor, k: Tensor, v: Tensor) -> dict[str, Callable[[], Run]]:
    """What makes each rival ready to run."""
    rows = q.shape[2]

    def plain(backend: SDPBackend) -> Run:
        def run() -> Tensor:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        return run

    flex = torch.compile(flex_attention, dynamic=False)
    make = torch.compile(create_block_mask, dynamic=False)

    def block_mask() -> BlockMask:
        return make(_flex_mask(visibility, rows), q.shape[0], None, rows, rows, device="cuda")

    def kept() -> Run:
        mask = block_mask()
        return lambda: flex(q, k, v, block_mask=mask)

    def masked() -> Run:
        visible_B1NN = visibility.dense(0, rows, rows)[:, None]
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=visible_B1NN)

    rivals = {
        "SDPA flash, plainly causal": lambda: plain(SDPBackend.FLASH_ATTENTION),
        "SDPA cuDNN, plainly causal": lambda: plain(SDPBackend.CUDNN_ATTENTION),
        "FlexAttention, block mask kept": kept,
        "FlexAttention, block mask made anew": lambda: lambda: flex(q, k, v, block_mask=block_mask()),
    }
    return rivals if rows > LARGEST_MASK else rivals | {"SDPA, mask as a tensor": masked}


def _flex_mask(visibility: Visibility, rows: int) -> Callable[..., Tensor]:
    """The mask as FlexAttention takes it: a function of the numbers of a sequence, a head, a query and a key."""
    start_BN, end_BN, low_BN, high_BN = visibility.intervals(0, rows)
    window = visibility.tile_window
    tile_BN = torch.zeros_like(low_BN)
    if window is not None:
        tile_BN = visibility.tiles_of(torch.arange(rows, dtype=torch.int32, device="cuda"))

    def visible(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = (key >= low_BN[b, query]) & (key <= high_BN[b, query])
        if window is not None:
            tile, other = tile_BN[b, query], tile_BN[b, key]
            near = near & ((tile < 0) | (other < 0) | window.near(tile, other))
        return ((key >= start_BN[b, query]) & (key < end_BN[b, query])) | near

    return visible


def visible_scores(visibility: Visibility, rows: int) -> int:
    """Scores of one head that are visible, in all sequences."""
    step = 1024
    return sum(
        int(visibility.dense(start, min(step, rows - start), rows).sum(dtype=torch.int64))
        for start in range(0, rows, step)
    )


def _check(visibility: Visibility, q: Tensor, k: Tensor, v: Tensor) -> None:
    """Outputs of some rows and the gradients that they give, against the reference in float32."""
    rows = q.shape[2]
    for start in (0, (rows - CHECKED_ROWS) // 2, rows - CHECKED_ROWS):
        some = slice(start, start + CHECKED_ROWS)
        up = torch.zeros_like(q)
        up[:, :1, some] = torch.randn_like(up[:, :1, some])
        out = attention(q, k, v, visibility, impl="triton")
        dq, dk, dv = torch.autograd.grad(out, (q, k, v), up)
        found = (out[:, :1, some], dq[:, :1, some], dk[:, :1], dv[:, :1])
        leaves = [x.detach().float().requires_grad_() for x in (q[:, :1, some], k[:, :1], v[:, :1])]
        q_leaf, k_leaf, v_leaf = leaves
        exact = attention(q_leaf, k_leaf, v_leaf, visibility, query_start=start, impl="reference")
        expected = (exact.detach(), *torch.autograd.grad(exact, leaves, up[:, :1, some].float()))
        for x, y in zip(found, expected, strict=True):
            require_near(x, y, TOLERANCE)
