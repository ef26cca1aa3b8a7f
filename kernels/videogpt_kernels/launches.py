"""How each kernel is launched on each kind of GPU: tile shape, warps and stages, from a table, never timed at run time.

    launch = launches_for(architecture="sm_90", width=64, dtype=torch.bfloat16)
    launch.forward.tile, launch.forward.warps

A table, and no autotuning decorator: the same call gives the same bits everywhere, nothing is timed in the
middle of a training, and all that can be launched can be compiled and inspected beforehand (`aot`).
Other GPUs take the entry of the one they resemble.
"""

import math
from typing import Any, NamedTuple

import torch
import triton.language as tl

from videogpt_kernels.tiles import TileShape

WIDTHS = (16, 32, 64, 128, 256)
"""Head dimensions of the table; others are rounded up to the next."""


class Launch(NamedTuple):
    """One kernel's launch."""

    tile: TileShape
    warps: int
    stages: int
    exact: torch.dtype = torch.float32
    """Of accumulators, log-sums and everything else that is not handed in or out."""

    def fitted(self, tile_tokens: int) -> "Launch":
        """With tiles that divide those of a `TileWindow`; `tile_tokens` is 0 where there is none."""
        queries, keys = (math.gcd(rows, tile_tokens) for rows in self.tile)
        return self._replace(tile=TileShape(queries, keys))

    def constants(self, width: int) -> dict[str, Any]:
        """Keyword arguments of the kernel for heads of `width`."""
        return {
            "D": width,
            "WIDTH": max(16, 1 << (width - 1).bit_length()),
            "TILE_M": self.tile.queries,
            "TILE_N": self.tile.keys,
            "EXACT": {torch.float32: tl.float32, torch.float64: tl.float64}[self.exact],
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


class BackwardLaunches(NamedTuple):
    """Launches of the gradient kernels."""

    dot_rows: Launch
    """Its tiles have rows of queries only."""
    dq: Launch
    dkv: Launch


class Launches(NamedTuple):
    """Launches of all kernels of attention."""

    forward: Launch
    backward: BackwardLaunches

    def fitted(self, tile_tokens: int) -> "Launches":
        """See `Launch.fitted`."""
        backward = BackwardLaunches(*(launch.fitted(tile_tokens) for launch in self.backward))
        return Launches(self.forward.fitted(tile_tokens), backward)


_T = TileShape
# (architecture, width): forward, dq, dkv as (tile, warps, stages), for 16-bit inputs. Chosen from the compiled
# code: no spills on any target, shared memory within bounds, and matrix instructions of the widest kind.
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
    ("gfx942", 16): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 32): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 64): ((_T(128, 64), 4, 1), (_T(64, 64), 4, 1), (_T(64, 64), 4, 1)),
    ("gfx942", 128): ((_T(128, 64), 8, 1), (_T(64, 32), 8, 1), (_T(64, 32), 8, 1)),
    ("gfx942", 256): ((_T(64, 32), 8, 1), (_T(32, 32), 4, 1), (_T(32, 32), 4, 1)),
}
_DOT_ROWS = (_T(32, 32), 4, 1)


def architecture_of(device: torch.device) -> str:
    """The architecture in the table that a device resembles; a CPU, under the interpreter, stands in for the oldest."""
    if device.type != "cuda":
        return "sm_80"
    if torch.version.hip:
        return "gfx942"
    # Data-centre GPUs from Hopper on have 228 KB of shared memory; all others about 100, as the rows of sm_80 suppose.
    major, _ = torch.cuda.get_device_capability(device)
    return "sm_90" if major in (9, 10, 11) else "sm_80"


def launches_for(architecture: str, width: int, dtype: torch.dtype) -> Launches:
    """Launches of all kernels for heads of `width` <= 256 on an architecture of the table (or sm_100, as sm_90)."""
    column = next(w for w in WIDTHS if w >= width)
    if dtype.itemsize > 2:
        entries, exact = (_exact_entry(architecture, column),) * 3, torch.promote_types(dtype, torch.float32)
    else:
        entries, exact = _TABLE["sm_90" if architecture == "sm_100" else architecture, column], torch.float32
    forward, dq, dkv = (Launch(*entry, exact) for entry in entries)
    return Launches(forward, BackwardLaunches(Launch(*_DOT_ROWS, exact), dq, dkv))


def _exact_entry(architecture: str, width: int) -> tuple[TileShape, int, int]:
    """Of all kernels for float32 and float64: exact rather than fast."""
    if width <= 32:
        return _T(32, 32), 4, 1
    return _T(16, 16), 4 if architecture == "gfx942" else 8, 1
