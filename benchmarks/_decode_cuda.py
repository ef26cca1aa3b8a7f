"""Decoding on a GPU: how near to the memory's speed, against all that one would use in its place.

Run by `benchmarks/decode.py`. Every time is that of replayed CUDA graphs, because a step is shorter than a launch from
Python, over several caches in turn that together exceed the L2 cache. Rivals: the static cache expanded and masked, as
open video models do; SDPA with grouped heads; FlexAttention, whose decoding kernel is Triton, too. A rival that cannot
run is left out, and said so on stderr.
"""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _decode_scene import FRAME, RIVALS, TEXT, Problem, Scene, check, rival_name, scene_of
from _program import command, keep, leave_out
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from videogpt.evaluation.report import Report
from videogpt.layouts.sequence import TokenSequence
from videogpt.model.cache import KVCache
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt_kernels import Visibility, decode_attention

# B sequences, M new rows, N rows held, C rows of room
COLD_BYTES = 256 * 2**20
"""Caches in turn hold at least this: several times an L2 cache."""
MODELS = {
    "350M": VideoGPTConfig(vocab_size=33_000, width=1024, depth=24, heads=16, kv_heads=4, mlp_ratio=4.0),
    "1B": VideoGPTConfig(vocab_size=33_000, width=2048, depth=20, heads=16, kv_heads=4),
}
HELD = 4096
PROTOCOL = (
    "medians of {rounds} replays of CUDA graphs, device events; attention: 8 query heads of 64, caches in turn of at "
    "least 256 MiB together; bytes are those of the visible keys and values, with their scales; share of a copy of "
    "1 GiB in the same run, counting bytes read and written (to read alone may be faster than that); outputs within "
    "1e-2 (bfloat16) or 3e-2 (int8) of float64; a step: one new row of one sequence, 4,096 rows held; its floor is "
    "weights and cache at the copy's speed"
)


def measure(quick: bool, output: Path | None) -> Report:
    """All figures."""
    rounds = 11 if quick else 51
    report = Report.start(command(), {"what": PROTOCOL.format(rounds=rounds)})
    keep(report, output)
    with torch.inference_mode():
        ceiling = copy_bandwidth(rounds)
        report.add("copy of 1 GiB, the ceiling", ceiling / 1e9, "GB/s", lower_is_better=False)
        for batch, problem in problems(quick):
            _compare(report, batch, problem, ceiling, rounds)
        for name, config in MODELS.items():
            _step(report, name, config, ceiling, rounds)
    return report


def problems(quick: bool) -> Iterator[tuple[int, Problem]]:
    """Batches and problems: size of the cache, new rows, groups, a window, int8."""
    batch_rows_group = [(1, 1, 8), (16, 1, 8), (64, 1, 8)]
    if not quick:
        batch_rows_group += [(64, 8, 8), (64, 24, 8), (16, 1, 1), (16, 1, 4)]
    for batch, rows, group in batch_rows_group:
        for dtype in (torch.bfloat16, torch.int8):
            yield batch, Problem(8192, rows, group, dtype)
    if not quick:
        yield 1, Problem(65536, 1, 8, torch.bfloat16)
        for rows in (1, 24):
            yield 16, Problem(TEXT + 1 + 16 * FRAME, rows, 4, torch.bfloat16, 4)


def seconds(runs: list[Callable[[], Any]], rounds: int) -> float:
    """Median time of one run, of a graph that holds all of them one after the other."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # compiles, also for numbers that grow, and allots what only a first call does
            for run in runs:
                run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for run in runs:
            run()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(runs))
    return statistics.median(times)


def copy_bandwidth(rounds: int) -> float:
    """Bytes per second, read plus written, of a copy of random numbers."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds([lambda: target.copy_(source)], rounds)


def visible_bytes(scene: Scene) -> int:
    """Of keys and values that a step has to read."""
    rows = int(scene.mask_B1MC.any(dim=2).sum())
    key_heads, width, size = scene.k.shape[1], scene.k.shape[3], scene.pool.keys_GSD.element_size()
    return 2 * rows * key_heads * (width * size + (4 if scene.pool.quantized else 0))


def _compare(report: Report, batch: int, problem: Problem, ceiling: float, rounds: int) -> None:
    torch._dynamo.reset()  # it gives up on a function that was compiled for too many shapes
    first = scene_of(problem, "cuda", batch)
    check(first, problem.dtype)
    needed = visible_bytes(first)
    scenes = [first, *(scene_of(problem, "cuda", batch) for _ in range(COLD_BYTES // needed))]
    name = f"batch {batch}, {problem.name}"
    ours = seconds([_ours(scene) for scene in scenes], rounds)
    report.add(f"{name}: cache of {needed / 2**20:.0f} MiB", ours * 1e6, "us")
    report.add(f"{name}: share of the copy's speed", 100 * needed / ours / ceiling, "%", lower_is_better=False)
    rivals = RIVALS | {"FlexAttention": _flex}
    if problem.rows == 1:
        rivals |= {"SDPA flash, of rows gathered beforehand": _flash}
    for rival, make in rivals.items():
        rival = rival_name(rival, problem)
        with leave_out(f"{name}: {rival}"):
            time = seconds([make(scene) for scene in scenes], rounds)
            report.add(name, ours * 1e6, "us", rival=rival, rival_value=time * 1e6)
    if problem.dtype == torch.int8:
        plain = [scene_of(problem._replace(dtype=torch.bfloat16), "cuda", batch) for _ in scenes]
        time = seconds([_ours(scene) for scene in plain], rounds)
        report.add(name, ours * 1e6, "us", rival="ours with a bfloat16 cache", rival_value=time * 1e6)


def _ours(scene: Scene) -> Callable[[], Tensor]:
    scene.step.limits_B4M.sum()  # derived once per step: the layers of a model share it
    return lambda: decode_attention(scene.q, scene.pool, scene.step, impl="triton")


def _flash(scene: Scene) -> Callable[[], Tensor]:
    """The strongest that torch has, and needs no mask: handed a copy of the visible rows, which nobody times."""
    visible_C = scene.mask_B1MC[0, 0, 0, : scene.k.shape[2]]
    k, v = (x[:, :, visible_C].contiguous() for x in (scene.k, scene.v))

    def run() -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(scene.q, k, v, enable_gqa=True)

    return run


def _flex(scene: Scene) -> Callable[[], Tensor]:
    flex = torch.compile(flex_attention, dynamic=False)
    visible_BMN = scene.mask_B1MC[:, 0, :, : scene.k.shape[2]]
    batch, rows, held = visible_BMN.shape

    def visible(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible_BMN[b, query, key]

    block_mask = create_block_mask(visible, batch, None, rows, held, device="cuda")
    return lambda: flex(scene.q, scene.k, scene.v, block_mask=block_mask, enable_gqa=True)


def _step(report: Report, name: str, config: VideoGPTConfig, ceiling: float, rounds: int) -> None:
    """A whole step, plain and through torch.compile, against weights and cache at the copy's speed."""
    model = VideoGPT(config).to("cuda", torch.bfloat16).eval()
    room = {"prompt_rows": TEXT, "rows": HELD + 4 * rounds}
    cache = KVCache(config, prompts=1, **room, dtype=torch.bfloat16, device="cuda")
    for pool in cache.pools:
        for x, _ in pool.parts():
            x.normal_()
    cache.advance(HELD - 1)
    sequence = TokenSequence(
        ids_BN=torch.zeros(1, 1, dtype=torch.int64, device="cuda"),
        positions_BN3=torch.zeros(1, 1, 3, dtype=torch.int64, device="cuda"),
        visibility=Visibility.causal(1, "cuda"),
    )

    weights = sum(x.nbytes for key, x in model.named_parameters() if key != "embedding.weight")
    held_bytes = cache.memory_bytes * HELD / (TEXT + cache.rows)
    floor = (weights + held_bytes) / ceiling
    for kind, hidden in (("", model.hidden), (", compiled", torch.compile(model.hidden))):
        with leave_out(f"step of {name}{kind}"):
            time = seconds([lambda: model.logits(hidden(sequence, cache)[:, -1])], rounds)  # noqa: B023
            cache.count(rounds)  # the rows that replays added
            report.add(f"step of {name}{kind}, {model.num_parameters / 1e6:.0f} million weights", time * 1e6, "us")
            report.add(f"step of {name}{kind}: share of the floor", 100 * floor / time, "%", lower_is_better=False)
