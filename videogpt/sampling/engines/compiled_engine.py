"""The network's step compiled by `torch.compile`: for who has a compiler and many clips to make, or no onnxruntime.

    engine = CompiledEngine(network)         # exact in float32; on a GPU each pass is also one CUDA graph

A pass has keys and values of a fixed size, so that one program serves every length. Passes of 1, 4 and 16 rows are
compiled, others are filled up to the next. Compiling takes about a minute for each of these and each number of
sequences, and is kept in PyTorch's folder (TORCHINDUCTOR_CACHE_DIR): later processes take seconds. Needs a C++ compiler
on a CPU, Triton on a GPU.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.network import VideoGPT
from videogpt.model.rotary import rotation_at
from videogpt.sampling.engines.engine import MOST_IN_WINDOWS, limits_of
from videogpt_kernels import qk_rope, rms_norm

# L layers, R sequences, M rows of a call, N rows there is room for, H query heads, G key/value heads, A = H + 2 G,
# D width of the model, or of a head where there are heads

WIDTHS = (1, 4, 16)
"""Rows of the passes that are compiled; a wider one is a multiple of the last."""
WORTH_TELLING = 5.0
"""Seconds of compiling."""


class CompiledEngine:
    """A network whose passes are compiled when they are first needed."""

    name = "compiled"

    def __init__(self, network: VideoGPT) -> None:
        self.network = network
        mode = "reduce-overhead" if network.embedding.weight.is_cuda else None
        self.advance = torch.compile(_advance, dynamic=False, mode=mode)

    def at_work(self) -> AbstractContextManager[object]:
        """See `Engine.at_work`."""
        return nullcontext()

    def paying_window(self, sequences: int) -> int:
        """See `Engine.paying_window`."""
        return WIDTHS[-1] if sequences <= MOST_IN_WINDOWS else 1

    def start(self, given: TokenSequence, rows: int, sources: Sequence[int] | None = None) -> "CompiledDecoding":
        """See `Engine.start`."""
        return CompiledDecoding(self, given, rows, sources)


class CompiledDecoding:
    """Sequences with keys and values of a fixed size; see `Decoding`."""

    def __init__(self, engine: CompiledEngine, given: TokenSequence, rows: int, sources: Sequence[int] | None) -> None:
        self._network, self._compiled = engine.network, engine.advance
        weight, config = engine.network.embedding.weight, engine.network.config
        given = given.to(weight.device)
        batch, self._given_rows = given.ids_BN.shape
        room = self._given_rows + rows + WIDTHS[-1]  # rows that only fill a pass up lie behind all others
        self._limits_R4N = limits_of(given, room)
        shape = (config.depth, batch, config.kv_heads, room, config.head_dim)
        self._keys_LRGND, self._values_LRGND = weight.new_zeros(shape), weight.new_zeros(shape)
        self._hold_still()
        self.hidden_RMD = self._run(_advance, given.ids_BN, given.positions_BN3, [0] * batch)
        if sources is not None:
            self._limits_R4N = self._limits_R4N[list(sources)]
            self._keys_LRGND = self._keys_LRGND[:, list(sources)].contiguous()
            self._values_LRGND = self._values_LRGND[:, list(sources)].contiguous()
            self._hold_still()

    def step(self, ids_RM: Tensor, positions_RM3: Tensor, starts: Sequence[int]) -> Tensor:
        """See `Decoding.step`."""
        rows = ids_RM.shape[1]
        width = next((width for width in WIDTHS if width >= rows), -(-rows // WIDTHS[-1]) * WIDTHS[-1])
        ids_RM = F.pad(ids_RM, (0, width - rows))
        positions_RM3 = F.pad(positions_RM3.expand(len(ids_RM), -1, -1), (0, 0, 0, width - rows))
        began = time.perf_counter()
        # Every width and number of sequences is a program of its own.
        with torch._dynamo.config.patch(recompile_limit=64):
            firsts = [self._given_rows + start for start in starts]
            hidden_RMD = self._run(self._compiled, ids_RM, positions_RM3, firsts)
        seconds = time.perf_counter() - began
        if seconds > WORTH_TELLING:
            warnings.warn(
                f"compiling a pass of {width} rows of {len(ids_RM)} sequences took {seconds:.0f} s, and is kept",
                stacklevel=2,
            )
        return hidden_RMD[:, :rows]

    def _hold_still(self) -> None:
        """A CUDA graph may write where it was told that nothing will move."""
        for held in (self._keys_LRGND, self._values_LRGND):
            torch._dynamo.mark_static_address(held)

    def _run(
        self, advance: Callable[..., Tensor], ids_RM: Tensor, positions_RM3: Tensor, firsts: Sequence[int]
    ) -> Tensor:
        first_R = torch.tensor(firsts, device=ids_RM.device)
        row_RM = (first_R[:, None] + torch.arange(ids_RM.shape[1], device=ids_RM.device)).clamp(
            max=self._limits_R4N.shape[2] - 1
        )
        limits_R4M = self._limits_R4N.gather(2, repeat(row_RM, "r m -> r four m", four=4))
        return advance(self._network, ids_RM, positions_RM3, row_RM, limits_R4M, self._keys_LRGND, self._values_LRGND)


def _advance(
    network: VideoGPT,
    ids_RM: Tensor,
    positions_RM3: Tensor,
    row_RM: Tensor,
    limits_R4M: Tensor,
    keys_LRGND: Tensor,
    values_LRGND: Tensor,
) -> Tensor:
    """Hidden states of rows, whose keys and values are written in their places; the others there are looked at."""
    config, x_RMD = network.config, network.embedding(ids_RM)
    heads, groups = config.heads, config.kv_heads
    rotation = rotation_at(positions_RM3, head_dim=config.head_dim, base=config.rope_base, dtype=x_RMD.dtype)
    key_N = torch.arange(keys_LRGND.shape[3], device=ids_RM.device)
    prefix_start, prefix_end, low, high = rearrange(limits_R4M, "r four m -> four r 1 m 1")
    seen_R1MN = ((key_N >= prefix_start) & (key_N < prefix_end)) | ((key_N >= low) & (key_N <= high))
    # Rows behind the last one of a window are of an earlier pass, or of none.
    seen_R1MN &= key_N <= row_RM[:, -1:, None, None].transpose(1, 2)
    place_RGMD = repeat(row_RM, "r m -> r g m d", g=groups, d=config.head_dim)
    block: Any  # of a ModuleList nobody knows what it holds
    for layer, block in enumerate(network.blocks):
        attention = block.attention
        qkv_RMAD = rearrange(attention.qkv(rms_norm(x_RMD)), "r m (a d) -> r m a d", d=config.head_dim)
        qk_RMAD, v_RMGD = qkv_RMAD.split([heads + groups, groups], dim=2)
        qk_RAMD = rearrange(qk_rope(qk_RMAD, attention.qk_gain_H, *rotation), "r m a d -> r a m d")
        q_RHMD, k_RGMD = qk_RAMD.split([heads, groups], dim=1)
        keys_LRGND[layer].scatter_(2, place_RGMD, k_RGMD)
        values_LRGND[layer].scatter_(2, place_RGMD, rearrange(v_RMGD, "r m g d -> r g m d"))
        out_RHMD = F.scaled_dot_product_attention(
            q_RHMD, keys_LRGND[layer], values_LRGND[layer], attn_mask=seen_R1MN, enable_gqa=heads != groups
        )
        x_RMD = x_RMD + attention.out(rearrange(out_RHMD, "r h m d -> r m (h d)"))
        x_RMD = x_RMD + block.feed_forward(rms_norm(x_RMD))
    return rms_norm(x_RMD)
