"""How each kernel is launched on each kind of GPU: tile shape, warps and stages, from a table, never timed at run time.

    launches_for("sm_90", width=64, dtype=torch.bfloat16).forward.warps

A table, and no autotuning decorator: the same call gives the same bits everywhere, nothing is timed in the
middle of a training, and all that can be launched can be compiled and inspected beforehand (`aot`).
Other GPUs take the entry of the one they resemble.
"""

from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from videogpt_kernels.tiles import TileShape

WIDTHS = (16, 32, 64, 128, 256)
"""Head dimensions of the table; others are rounded up to the next."""


class Launch(NamedTuple):
    """One kernel's launch."""

    tile: TileShape
    warps: int
    stages: int
    exact: torch.dtype | None = torch.float32
    """Of accumulators, log-sums and everything else that is not handed in or out; None where there is no choice."""
    registers: int | None = None
    """Most per thread. None leaves it to the compiler, which may spill rather than let fewer warps run."""

    def constants(self, width: int) -> dict[str, Any]:
        """Keyword arguments of the kernel for heads of `width`."""
        tile = {"D": width, "WIDTH": padded(width), "TILE_M": self.tile.queries, "TILE_N": self.tile.keys}
        exact = {torch.float32: {"EXACT": tl.float32}, torch.float64: {"EXACT": tl.float64}, None: {}}[self.exact]
        limit = {} if self.registers is None else {"maxnreg": self.registers}
        return {**tile, **exact, **limit, "num_warps": self.warps, "num_stages": self.stages}


class Launches(NamedTuple):
    """Launches of all kernels of attention."""

    forward: Launch
    dot_rows: Launch
    """Its tiles have rows of queries only."""
    dq: Launch
    dkv: Launch


_T = TileShape
# (architecture, width): forward, dq, dkv as (tile, warps, stages), for 16-bit inputs. Chosen from the compiled
# code: no spills on any target, shared memory within bounds, and matrix instructions of the widest kind.
# sm_100 has rows only where those of sm_90 do not do.
_TABLE: dict[tuple[str, int], tuple[tuple[TileShape, int, int], ...]] = {
    ("sm_80", 16): ((_T(128, 64), 4, 3), (_T(64, 64), 4, 2), (_T(64, 64), 4, 2)),
    ("sm_80", 32): ((_T(128, 64), 4, 3), (_T(64, 64), 4, 2), (_T(64, 64), 4, 2)),
    ("sm_80", 64): ((_T(128, 64), 8, 3), (_T(64, 64), 4, 2), (_T(32, 64), 4, 2)),
    ("sm_80", 128): ((_T(128, 32), 8, 3), (_T(64, 64), 8, 2), (_T(64, 64), 8, 1)),
    ("sm_80", 256): ((_T(64, 32), 8, 2), (_T(32, 32), 8, 1), (_T(32, 32), 8, 1)),
    ("sm_90", 16): ((_T(128, 64), 4, 3), (_T(64, 64), 4, 2), (_T(64, 64), 4, 2)),
    ("sm_90", 32): ((_T(128, 64), 4, 3), (_T(64, 64), 4, 2), (_T(64, 64), 4, 2)),
    ("sm_90", 64): ((_T(128, 64), 8, 3), (_T(64, 64), 4, 2), (_T(64, 64), 4, 2)),
    ("sm_90", 128): ((_T(128, 64), 8, 2), (_T(64, 64), 8, 2), (_T(64, 64), 8, 2)),
    ("sm_90", 256): ((_T(128, 32), 8, 2), (_T(64, 32), 8, 2), (_T(32, 64), 8, 1)),
    ("sm_100", 128): ((_T(128, 64), 8, 2), (_T(64, 64), 8, 2), (_T(64, 64), 4, 2)),
    ("gfx942", 16): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 32): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 64): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 128): ((_T(128, 64), 8, 1), (_T(64, 32), 8, 1), (_T(64, 32), 8, 1)),
    ("gfx942", 256): ((_T(64, 32), 8, 1), (_T(32, 32), 4, 1), (_T(32, 32), 4, 1)),
}
_LISTED = {("sm_90", 128): ((_T(128, 64), 8, 2), (_T(64, 64), 8, 2), (_T(64, 64), 8, 1))}
"""Rows that differ where visits are lists, which cost registers."""
_MOST_REGISTERS = 255
_DOT_ROWS = (_T(32, 32), 4, 1)


def padded(width: int) -> int:
    """Channels that a tile has for heads of `width`: a power of 2 that matrix instructions take."""
    return max(16, 1 << (width - 1).bit_length())


def architecture_of(device: torch.device) -> str:
    """The architecture in the table that a device resembles; a CPU, under the interpreter, stands in for the oldest."""
    if device.type != "cuda":
        return "sm_80"
    if torch.version.hip:
        return "gfx942"
    # Data-centre GPUs from Hopper on have 228 KB of shared memory; all others about 100, as the rows of sm_80 suppose.
    major, _ = torch.cuda.get_device_capability(device)
    return {9: "sm_90", 10: "sm_100", 11: "sm_100"}.get(major, "sm_80")


def launches_for(architecture: str, width: int, dtype: torch.dtype, tile_tokens: int = 0) -> Launches:
    """Launches of all kernels, for heads of at most 256 channels.

    With `tile_tokens`, the rows of the tiles of a `TileWindow` (0 without one), those of the kernels divide them.
    """
    row = (architecture, next(w for w in WIDTHS if w >= width))
    if architecture == "sm_100" and row not in _TABLE:
        row = ("sm_90", row[1])
    exact = torch.promote_types(dtype, torch.float32)
    entries = _LISTED.get(row, _TABLE[row]) if tile_tokens else _TABLE[row]
    registers = None
    if dtype.itemsize > 2:  # exact rather than fast
        entries = ((_T(16, 16), 8 if width > 128 and architecture != "gfx942" else 4, 1),) * 3
        registers = None if architecture == "gfx942" else _MOST_REGISTERS
    launches = [
        Launch(TileShape(*(_dividing(tile_tokens, rows) for rows in tile)), warps, stages, exact, registers)
        for tile, warps, stages in entries
    ]
    return Launches(launches[0], Launch(*_DOT_ROWS, exact), *launches[1:])


def _dividing(tile_tokens: int, rows: int) -> int:
    """`rows`, a power of 2, halved until it divides. Not math.gcd, which torch.compile cannot follow."""
    while tile_tokens % rows:
        rows //= 2
    return rows


def channels_side_by_side(x: Tensor) -> Tensor:
    """The same numbers with a stride of 1 along the last axis, which all kernels count on."""
    return x if x.stride(-1) == 1 else x.contiguous()
