"""Time `videogpt_kernels.attention` against what most people would use in its place.

    python benchmarks/attention.py [--quick] [--output FILE.json] [--plot FILE.svg]

On a GPU the rivals are those of `_attention_cuda.py`. On a CPU it is `scaled_dot_product_attention(q, k, v,
attn_mask=mask, enable_gqa=True)` with a boolean mask made beforehand. Every result is compared with the reference
before anything is timed; on a CPU ours and the rival take turns, so that a busy machine disturbs both alike. A
ratio above 1 is in our favour.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from _program import command, in_turns, keep, options, publish, require_near
from torch import Tensor

from videogpt.evaluation.report import Report
from videogpt_kernels import Visibility, attention

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension
HEADS, KEY_HEADS, WIDTH = 4, 2, 64
TEXT_ROWS, VIDEO_ROWS = 64, 290
LENGTH = TEXT_ROWS + VIDEO_ROWS
LAYERS, DECODED_ROWS = 6, 32
RIVAL = "torch SDPA, boolean mask"
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
PROTOCOL = (
    "best of {rounds} rounds taken in turns; CPU time of one thread, which other programs disturb least; "
    "4 query heads, 2 key heads of 64; text of random length in 64 rows, 290 body rows; decoding as in 6 "
    "layers; outputs (and gradients) within 1e-5 (float32) or 1e-2 (bfloat16) of float64"
)


def best_milliseconds(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Time of one call of each, best of `rounds`, in turns."""
    return [min(own) for own in in_turns(runs, rounds, clock=time.process_time)]


def check(found: list[Tensor], exact: list[Tensor]) -> None:
    for x, y in zip(found, exact, strict=True):
        require_near(x, y, TOLERANCE[x.dtype])


def random_visibility(batch: int) -> Visibility:
    prefix_B = torch.randint(8, TEXT_ROWS + 1, (batch,), dtype=torch.int32)
    return Visibility.prefix_body(prefix_B, TEXT_ROWS)


def training(report: Report, batch: int, dtype: torch.dtype, rounds: int) -> None:
    """Forward and backward of all rows, with the strides that a model's projections leave."""
    visibility = random_visibility(batch)
    mask_B1NN = visibility.dense(0, LENGTH, LENGTH)[:, None]
    shapes = [(batch, LENGTH, heads, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    q, k, v = (torch.randn(shape, dtype=dtype).transpose(1, 2).requires_grad_() for shape in shapes)
    up = torch.randn(q.shape, dtype=dtype)

    def ours() -> list[Tensor]:
        out = attention(q, k, v, visibility)
        return [out, *torch.autograd.grad(out, (q, k, v), up)]

    def rival() -> list[Tensor]:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B1NN, enable_gqa=True)
        return [out, *torch.autograd.grad(out, (q, k, v), up)]

    exact = attention(q.double(), k.double(), v.double(), visibility, impl="reference")
    check(ours(), [exact, *torch.autograd.grad(exact, (q, k, v), up.double())])
    time_of_ours, time_of_rival = best_milliseconds([ours, rival], rounds)
    name = f"train, batch {batch}, {dtype}: forward and backward".replace("torch.", "")
    report.add(name, time_of_ours, "ms", rival=RIVAL, rival_value=time_of_rival)


def decoding(report: Report, batch: int, dtype: torch.dtype, rounds: int) -> None:
    """The last rows, one by one, against a cache."""
    visibility, rows = random_visibility(batch), range(LENGTH - DECODED_ROWS, LENGTH)
    mask_B1NN = visibility.dense(0, LENGTH, LENGTH)[:, None]
    q = torch.randn(batch, HEADS, 1, WIDTH, dtype=dtype)
    cache = [torch.randn(batch, KEY_HEADS, LENGTH + 46, WIDTH, dtype=dtype) for _ in range(2)]

    def ours(row: int, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, visibility, query_start=row)

    def rival(row: int, k: Tensor, v: Tensor) -> Tensor:
        mask_B11N = mask_B1NN[:, :, row : row + 1, : row + 1]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11N, enable_gqa=True)

    def decode(run: Callable[[int, Tensor, Tensor], Tensor]) -> list[Tensor]:
        """The output of each row, which every layer would compute anew."""
        outs = []
        for row in rows:
            keys, values = (x[:, :, : row + 1] for x in cache)
            outs += [run(row, keys, values) for _ in range(LAYERS)][:1]
        return outs

    k, v = (x.double() for x in cache)
    exact = [attention(q.double(), k, v, visibility, query_start=row, impl="reference") for row in rows]
    with torch.inference_mode():
        check(decode(ours), exact)
        best = best_milliseconds([lambda: decode(ours), lambda: decode(rival)], rounds)
    time_of_ours, time_of_rival = (milliseconds / LAYERS / DECODED_ROWS for milliseconds in best)
    name = f"decode one row, batch {batch}, {dtype}".replace("torch.", "")
    report.add(name, time_of_ours, "ms", rival=RIVAL, rival_value=time_of_rival)


def on_cpu(quick: bool, output: Path | None) -> Report:
    torch.set_num_threads(1)
    rounds = 5 if quick else 15
    report = Report.start(command(), {"what": PROTOCOL.format(rounds=rounds), "threads": 1})
    keep(report, output)
    for time_one, batches in ((training, [16]), (decoding, [2, 16])):
        for batch in batches if quick else [*batches, 32]:
            for dtype in (torch.float32, torch.bfloat16):
                time_one(report, batch, dtype, rounds)
    return report


def plot(report: Report) -> str:
    """A bar for every comparison, as long as its ratio, as SVG; the line is where both take the same time."""
    rows = [row for row in report.rows if row.ratio is not None]
    unit, left, step = 120, 620, 18
    lines = [f'<line x1="{left + unit}" y1="0" x2="{left + unit}" y2="{step * len(rows)}" stroke="black"/>']
    for i, row in enumerate(rows):
        y, length = step * i, unit * min(row.ratio or 0.0, 6.0)
        lines.append(f'<rect x="{left}" y="{y + 2}" width="{length:.0f}" height="{step - 4}" fill="#7aa6c2"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{row.name} / {row.rival}</text>')
        lines.append(f'<text x="{left + length + 4:.0f}" y="{y + 13}">{row.ratio:.2f}</text>')
    size = f'width="{left + 7 * unit}" height="{step * len(rows)}"'
    style = 'font-family="sans-serif" font-size="11"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *lines, "</svg>"]) + "\n"


def main() -> None:
    parser = options(__doc__, quick="fewer rounds, batches and sizes")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios into this file")
    args = parser.parse_args()
    torch.manual_seed(0)
    if torch.cuda.is_available():
        import _attention_cuda as cuda

        report = cuda.measure(args.quick, args.output)
    else:
        report = on_cpu(args.quick, args.output)
    publish(report, args.output)
    if args.plot:
        args.plot.write_text(plot(report), encoding="utf-8")


if __name__ == "__main__":
    main()
