"""Problems of decoding, their tensors, and what most people write in place of `decode_attention`.

Shared by `decode.py` and `_decode_cuda.py`:

    scene = scene_of(Problem(held=4096, rows=1, group=8, dtype=torch.float32))
    check(scene, torch.float32)                  # ends the program where a result is wrong
    run = RIVALS["SDPA, enable_gqa and mask"](scene)
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from _program import require_near
from einops import repeat
from torch import Tensor

from videogpt_kernels import LayerPool, Step, Visibility, attention, decode_attention, store_rows

# B sequences, H query heads, G key heads, M new rows, N rows held, C rows of room, D channels of a head
HEADS, WIDTH, TEXT, FRAME = 8, 64, 64, 256
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.int8: 3e-2}


class Problem(NamedTuple):
    """New rows over a cache."""

    held: int
    """Rows in the cache, the new ones among them."""
    rows: int
    group: int
    """Query heads per key head."""
    dtype: torch.dtype
    window_frames: int | None = None

    @property
    def name(self) -> str:
        window = "" if self.window_frames is None else f", last {self.window_frames} frames of {FRAME}"
        kind = "int8 (bfloat16)" if self.dtype == torch.int8 else str(self.dtype).removeprefix("torch.")
        return f"{self.rows} new of {self.held} rows, groups of {self.group}, {kind}{window}"


class Scene(NamedTuple):
    """A problem's tensors: a cache, the same as plain tensors, queries and the mask over the whole cache."""

    q: Tensor
    k: Tensor
    v: Tensor
    pool: LayerPool
    step: Step
    mask_B1MC: Tensor


def scene_of(problem: Problem, device: str = "cpu", batch: int = 1) -> Scene:
    """Random keys and values of rows 0 .. held-1, and a cache with room for a quarter more."""
    room = problem.held + problem.held // 4
    exact = torch.bfloat16 if problem.dtype == torch.int8 else problem.dtype
    key_heads = HEADS // problem.group
    q = torch.randn(batch, HEADS, problem.rows, WIDTH, dtype=exact, device=device)
    k, v = torch.randn(2, batch, key_heads, problem.held, WIDTH, dtype=exact, device=device)
    rules = {} if problem.window_frames is None else {"frame_tokens": FRAME, "window_frames": problem.window_frames}
    prefix_B = torch.full((batch,), TEXT // 2, dtype=torch.int32, device=device)
    visibility = Visibility.prefix_body(prefix_B, TEXT, **rules)
    pool = LayerPool.empty(key_heads=key_heads, slots=batch * room, width=WIDTH, dtype=problem.dtype, device=device)
    store_rows(k, v, pool, step_of(visibility, 0, problem.held, room, TEXT))
    start = problem.held - problem.rows
    mask_B1MC = visibility.dense(start, problem.rows, room)[:, None]
    return Scene(q, k, v, pool, step_of(visibility, start, problem.rows, room, TEXT), mask_B1MC)


def step_of(visibility: Visibility, start: int, rows: int, room: int, prompt_rows: int) -> Step:
    """New rows from `start` on, of sequences that lie side by side with room for as many rows each."""
    first_B = torch.arange(visibility.batch, dtype=torch.int32, device=visibility.device) * room
    places_B3 = torch.stack([torch.full_like(first_B, start), first_B, first_B + prompt_rows], dim=1)
    where = {"places_B3": places_B3, "contiguous": True, "prompt_rows": prompt_rows, "ring_rows": room - prompt_rows}
    return Step(rows=rows, lengths=(start,) * visibility.batch, visibility=visibility, **where)


def check(scene: Scene, dtype: torch.dtype) -> None:
    """Ends the program where a result is wrong."""
    found = decode_attention(scene.q, scene.pool, scene.step)
    q, k, v = (x.double() for x in scene[:3])
    exact = attention(q, k, v, scene.step.visibility, query_start=scene.step.start, impl="reference")
    require_near(found, exact, TOLERANCE[dtype])


def whole_cache(scene: Scene, expand: bool) -> Callable[[], Tensor]:
    """SDPA over the whole static cache, masked where nothing is; open video models expand it at every step, too."""
    group, room = scene.q.shape[1] // scene.k.shape[1], scene.mask_B1MC.shape[-1]
    k, v = (F.pad(x, (0, 0, 0, room - x.shape[2])) for x in (scene.k, scene.v))

    def run() -> Tensor:
        keys, values = (repeat(x, "b g c d -> b (g r) c d", r=group) for x in (k, v)) if expand else (k, v)
        return F.scaled_dot_product_attention(scene.q, keys, values, attn_mask=scene.mask_B1MC, enable_gqa=not expand)

    return run


def rival_name(rival: str, problem: Problem) -> str:
    """Rivals know no int8."""
    return f"{rival}, bfloat16" if problem.dtype == torch.int8 else rival


RIVALS = {
    "SDPA, expanded and masked": partial(whole_cache, expand=True),
    "SDPA, enable_gqa and mask": partial(whole_cache, expand=False),
}
