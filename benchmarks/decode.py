"""Time decoding: `decode_attention` over a cache, and a whole step of a model, against what most people write.

    python benchmarks/decode.py [--quick] [--output FILE.json]

The rival of open video models expands the shared key heads, and masks the whole static cache. On a GPU there are
more, see `_decode_cuda.py`. On a CPU a step of a small model is compared with its matrix products alone, which it
cannot do without. Every result is compared with float64 before anything is timed; ours and the rival take
turns, so that a busy machine disturbs both alike. A ratio above 1 is in our favour.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from _decode_scene import RIVALS, Problem, check, rival_name, scene_of, step_of
from _program import command, keep, medians, options, publish
from torch import Tensor

from videogpt.evaluation.report import Report
from videogpt.layouts.sequence import TokenSequence
from videogpt.layouts.task import Example, Task
from videogpt.model.cache import KVCache
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.pipeline import Pipeline
from videogpt_kernels import LayerPool, Visibility, decode_attention, store_rows

# B and R sequences, G key heads, S slots, M new rows, N rows held, D channels of a head
PROTOCOL = (
    "medians of {rounds} rounds taken in turns, wall time, {threads} threads; attention: 1 sequence, 8 query heads of "
    "64, a cache with room for a quarter more rows than it holds; outputs within 1e-5 (float32), 1e-2 (bfloat16) or "
    "3e-2 (int8) of float64; a step: one new row of two sequences (guidance), half of 320 codes in a float32 cache; "
    "errors are relative (Frobenius), on keys and values of the shipped model"
)


def attention_on_cpu(report: Report, quick: bool, rounds: int) -> None:
    problems = [
        Problem(4096, rows, group, dtype, window)
        for dtype in (torch.float32, torch.bfloat16, torch.int8)
        for rows, group, window in ((1, 8, None), (1, 4, None), (24, 4, None), (1, 4, 4))
    ]
    for problem in problems[1::2] if quick else problems:
        scene = scene_of(problem)
        check(scene, problem.dtype)
        # A new step derives its limits anew; the layers of a model share one.
        ours = lambda: decode_attention(scene.q, scene.pool, scene.step)  # noqa: B023, E731
        rivals = {name: make(scene) for name, make in RIVALS.items()}
        time_of_ours, *times = medians([ours, *rivals.values()], rounds, repeats=5)
        for rival, time_of_rival in zip(rivals, times, strict=True):
            rival = rival_name(rival, problem)
            report.add(problem.name, time_of_ours, "ms", rival=rival, rival_value=time_of_rival)


class _Drawing(NamedTuple):
    """A model in the middle of drawing a video, with guidance: two sequences, half the codes in the cache."""

    model: VideoGPT
    task: Task
    last: TokenSequence
    cache: KVCache

    def step(self) -> Tensor:
        """Logits of the next code, which is then forgotten."""
        hidden_RMD = self.model.hidden(self.last, self.cache)
        self.cache.rewind(1)
        return self.model.logits(hidden_RMD[:, -1], self.task.vocabulary.ids["video"])

    def products(self) -> None:
        """The matrix products of a step, and nothing else."""
        for linear in self.model.modules():
            if isinstance(linear, torch.nn.Linear) and linear is not self.model.head:
                F.linear(torch.ones(2, linear.in_features), linear.weight)
        self.model.logits(torch.ones(2, self.model.config.width), self.task.vocabulary.ids["video"])


def drawing(
    model: VideoGPT, task: Task, dtype: torch.dtype = torch.float32, copies: int = 1, shared: bool = False
) -> _Drawing:
    """With random codes, the same for every call; `copies` of each sequence, which may share its prompt."""
    frames = task.config.latent_frames
    tokens = frames * task.raster.frame_tokens
    examples, half = [Example([5, 6, 7, 8, 9]), Example([])], tokens // 2
    generator = torch.Generator().manual_seed(0)
    codes_RN = torch.randint(task.config.codebook_size, (1, half + 1), generator=generator).expand(2 * copies, -1)
    every = [example for example in examples for _ in range(copies)]
    prompt = task.prompt(every, frames)
    whole = TokenSequence(
        ids_BN=task.vocabulary.to_ids("video", codes_RN),
        positions_BN3=prompt.positions_1M3[:, : half + 1],
        visibility=prompt.given.visibility,
    )
    first, last = (
        dataclasses.replace(whole, ids_BN=whole.ids_BN[:, part], positions_BN3=whole.positions_BN3[:, part])
        for part in (slice(0, half), slice(half, None))
    )
    prompts, prompt_rows = examples if shared else every, whole.visibility.body_start + 1
    cache = KVCache(
        model.config, prompts=len(prompts), batch=2 * copies, prompt_rows=prompt_rows, rows=tokens, dtype=dtype
    )
    model.hidden(task.prompt(prompts, frames).given, cache)
    if shared:
        cache.fork([index for index in range(2) for _ in range(copies)])
    model.hidden(first, cache)
    return _Drawing(model, task, last, cache)


@torch.inference_mode()
def steps_on_cpu(report: Report, rounds: int) -> None:
    """A step of a model of 10 million weights against its matrix products alone."""
    task = Pipeline.from_pretrained("shapes").model.task
    config = VideoGPTConfig(vocab_size=task.vocabulary.size, width=384, depth=6, heads=6, kv_heads=2)
    ours = drawing(VideoGPT(config).eval(), task)
    name = f"step of a model of {ours.model.num_parameters / 1e6:.1f} million weights"
    whole, least = medians([ours.step, ours.products], rounds, repeats=20)
    report.add(name, whole, "ms", rival="its matrix products alone", rival_value=least)
    report.add(f"{name}: share outside of matrix products", 100 * (1 - least / whole), "%")
    apart, shared = (drawing(ours.model, task, copies=8, shared=shared) for shared in (False, True))
    if not torch.allclose(apart.step(), shared.step(), atol=1e-4):
        raise SystemExit("sharing prompts changes the logits")
    with_copies, without = medians([apart.step, shared.step], rounds, repeats=5)
    report.add("step of 16 sequences of 2 prompts, shared", without, "ms", rival="apart", rival_value=with_copies)


@torch.inference_mode()
def errors_of_int8(report: Report) -> None:
    """What an int8 cache costs, on the keys and values of the shipped model."""
    saved = Pipeline.from_pretrained("shapes").model
    plain, rounded = (drawing(saved.network, saved.task, dtype) for dtype in (torch.float32, torch.int8))
    exact = plain.step()
    report.add("logits with an int8 cache, error", 100 * float((rounded.step() - exact).norm() / exact.norm()), "%")
    report.add("attention with an int8 cache, error, mean of the layers", int8_error(plain.cache), "%")


def int8_error(cache: KVCache) -> float:
    """Of outputs of attention against those of a bfloat16 cache, in percent; the cache's keys serve as queries, too."""
    errors = []
    for pool in cache.pools:
        key_heads, slots, _ = pool.keys_GSD.shape
        room = slots // 2
        held = slice(0, cache.length)
        k, v = (x.unflatten(1, (2, room))[:, :1, held].transpose(0, 1) for x, _ in pool.parts())
        outs = []
        for dtype in (torch.bfloat16, torch.int8):
            other = LayerPool.empty(key_heads=key_heads, slots=room, width=k.shape[-1], dtype=dtype)
            step = step_of(Visibility.causal(1), 0, cache.length, room, prompt_rows=1)
            store_rows(k, v, other, step)
            outs.append(decode_attention(k.bfloat16(), other, step).float())
        errors.append(100 * float((outs[1] - outs[0]).norm() / outs[0].norm()))
    return statistics.mean(errors)


def on_cpu(quick: bool, output: Path | None) -> Report:
    torch.set_num_threads(min(2, torch.get_num_threads()))
    rounds = 7 if quick else 31
    report = Report.start(command(), {"what": PROTOCOL.format(rounds=rounds, threads=torch.get_num_threads())})
    keep(report, output)
    with torch.inference_mode():
        attention_on_cpu(report, quick, rounds)
    steps_on_cpu(report, rounds)
    errors_of_int8(report)
    return report


def main() -> None:
    args = options(__doc__, quick="fewer rounds and problems").parse_args()
    torch.manual_seed(0)
    if torch.cuda.is_available():
        import _decode_cuda as cuda

        report = cuda.measure(args.quick, args.output)
    else:
        report = on_cpu(args.quick, args.output)
    publish(report, args.output)


if __name__ == "__main__":
    main()
