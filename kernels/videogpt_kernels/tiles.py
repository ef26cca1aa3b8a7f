"""Which tiles of keys each tile of queries visits, and the reverse: what no row of a tile sees costs nothing.

    plan = plan_tiles(visibility, query_start, num_queries, num_keys, shape)                  # forward, and dq
    plan = plan_tiles(visibility, query_start, num_queries, num_keys, shape, reverse=True)    # dk and dv

Row intervals need ranges of tiles. A `tile_window` needs lists, and tiles that begin where a tile of the body
does. Everything is computed on the device of the visibility without waiting for it, and depends on no input of
attention: one plan serves all layers and heads.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels.visibility import NOWHERE, Visibility

# B batch, M query rows, N key rows, T tiles of query rows, S tiles of key rows, V visits


class TileShape(NamedTuple):
    """Rows of a tile of scores."""

    queries: int
    keys: int


class Plan(NamedTuple):
    """The visits of one kernel, each of whose programs owns a tile and visits others."""

    limits_B4M: Tensor
    """int32: prefix start, prefix end, low and high (inclusive) of every query row, as `Visibility.intervals`."""
    visits: Tensor
    """int32. Ranges: (B, tiles, 4), two ranges [first, end) that do not overlap, or (B, tiles, 2), one.
    Lists, the same for all sequences: (tiles, 1 + V), the number of visits, then the tiles."""
    margins: tuple[int, int] = (0, 0)
    """Rows of queries, and of keys, by which the first tile begins before the first row, so that later ones begin
    where they should."""

    @property
    def listed(self) -> bool:
        """Whether visits are lists."""
        return self.visits.ndim == 2

    @property
    def tiles(self) -> int:
        """Programs per head."""
        return self.visits.shape[0 if self.listed else 1]

    @property
    def longest(self) -> int:
        """Visits that a list has room for."""
        return self.visits.shape[1] - 1 if self.listed else 0


def why_no_plan(visibility: Visibility) -> str | None:
    """Why tiles cannot be planned, or None when they can."""
    window = visibility.tile_window
    if window is None:
        return None
    if visibility.common_body_start is None:
        return "tile_window with packed documents has no common tiles"
    if window.tile_tokens % 16:
        return f"tile_window.tile_tokens is {window.tile_tokens}, no multiple of 16"
    return None


def plan_tiles(
    visibility: Visibility, query_start: int, num_queries: int, num_keys: int, shape: TileShape, reverse: bool = False
) -> Plan:
    """Tiles of keys that each tile of queries visits: those that hold something visible, and few others.

    With `reverse`, the tiles of queries that each tile of keys is visited by.
    """
    limits_B4M = row_limits(visibility, query_start, num_queries)
    if visibility.tile_window is None:
        ranges_BT4 = key_ranges(limits_B4M, num_keys, shape)
        return Plan(limits_B4M, query_ranges(ranges_BT4, num_keys, shape) if reverse else ranges_BT4)
    needed_TS, margins = _needed(visibility, query_start, num_queries, num_keys, shape)
    return Plan(limits_B4M, _lists(needed_TS.mT if reverse else needed_TS), margins)


def row_limits(visibility: Visibility, query_start: int, num_queries: int) -> Tensor:
    """`Visibility.intervals` as one int32 tensor (B, 4, M), which all plans share."""
    key = (query_start, num_queries)
    return visibility.once("row limits", key, lambda: torch.stack(visibility.intervals(*key), dim=1))


def key_ranges(limits_B4M: Tensor, num_keys: int, shape: TileShape) -> Tensor:
    """Tiles of keys that each tile of queries reads: (B, T, 4), [first, end) of the prefixes of its rows and
    [first, end) of the rest. Each is the hull of what the rows see, or empty."""
    starts_BM, ends_BM, lows_BM, highs_BM = limits_B4M.unbind(1)
    has_prefix_BM = ends_BM > starts_BM
    prefix_start_BT = _reduce(torch.where(has_prefix_BM, starts_BM, NOWHERE), shape.queries, NOWHERE, "amin")
    prefix_end_BT = _reduce(torch.where(has_prefix_BM, ends_BM, 0), shape.queries, 0, "amax").clamp(max=num_keys)
    low_BT = _reduce(lows_BM, shape.queries, NOWHERE, "amin")
    high_BT = _reduce(highs_BM, shape.queries, -1, "amax").clamp(max=num_keys - 1)
    prefix_end_BT = (prefix_end_BT + shape.keys - 1) // shape.keys
    prefix_first_BT = torch.minimum(prefix_start_BT // shape.keys, prefix_end_BT)
    # In a tile that holds rows of several documents, the rest may begin before the last of the prefixes.
    prefix_first_BT = torch.minimum(prefix_first_BT, low_BT // shape.keys)
    first_BT = torch.maximum(low_BT // shape.keys, prefix_end_BT)
    end_BT = torch.maximum(high_BT // shape.keys + 1, first_BT)
    return torch.stack([prefix_first_BT, prefix_end_BT, first_BT, end_BT], dim=-1).int().contiguous()


def query_ranges(ranges_BT4: Tensor, num_keys: int, shape: TileShape) -> Tensor:
    """Tiles of queries that read each tile of keys: (B, S, 2), [first, end), a hull, or empty."""
    tiles = ranges_BT4.shape[1]
    tile_S = torch.arange(-(-num_keys // shape.keys), dtype=torch.int32, device=ranges_BT4.device)
    prefix_first, prefix_end, first, end = ranges_BT4[..., None].unbind(2)
    read_BTS = ((tile_S >= prefix_first) & (tile_S < prefix_end)) | ((tile_S >= first) & (tile_S < end))
    tile_T1 = torch.arange(tiles, dtype=torch.int32, device=ranges_BT4.device)[:, None]
    end_BS = torch.where(read_BTS, tile_T1 + 1, 0).amax(1)
    first_BS = torch.minimum(torch.where(read_BTS, tile_T1, tiles).amin(1), end_BS)
    return torch.stack([first_BS, end_BS], dim=-1).int().contiguous()


def _reduce(x_BM: Tensor, rows: int, fill: int, how: str) -> Tensor:
    """The least ("amin") or greatest ("amax") number of each tile of rows: BT."""
    x_BM = F.pad(x_BM, (0, -x_BM.shape[1] % rows), value=fill)
    return getattr(x_BM.unflatten(1, (-1, rows)), how)(-1)


def _needed(
    visibility: Visibility, query_start: int, num_queries: int, num_keys: int, shape: TileShape
) -> tuple[Tensor, tuple[int, int]]:
    """Whether a tile of queries has to visit a tile of keys, bool (T, S); and the margins of both."""
    window = visibility.tile_window
    assert window is not None and window.tile_tokens % shape.queries == 0 and window.tile_tokens % shape.keys == 0
    first_code, device = visibility.body_start + visibility.frame_offset, visibility.device
    margins = (query_start - first_code) % window.tile_tokens, -first_code % window.tile_tokens
    query_T1 = torch.arange(-margins[0], num_queries, shape.queries, device=device)[:, None] + query_start
    key_S = torch.arange(-margins[1], num_keys, shape.keys, device=device)
    before = key_S <= (query_T1 + shape.queries - 1).clamp(max=query_start + num_queries - 1)
    # Text and the rows before the first frame: few, so they visit each other, and all later rows visit them.
    outside = (key_S < first_code) & (before | (query_T1 < first_code))
    tile_T1, tile_S = ((row - first_code).clamp(min=0) // window.tile_tokens for row in (query_T1, key_S))
    frame_T1, frame_S = (tile // (window.tiles_high * window.tiles_wide) for tile in (tile_T1, tile_S))
    seen = window.near(tile_T1, tile_S) & (query_T1 >= first_code) & (key_S >= first_code)
    seen &= (frame_S <= frame_T1) if visibility.bidirectional_frames else before
    if visibility.window_frames is not None:
        seen &= frame_T1 - frame_S < visibility.window_frames
    exist = (query_T1 + shape.queries > query_start) & (key_S + shape.keys > 0)  # margins may hold whole tiles
    return (outside | seen) & exist, margins


def _lists(needed_XY: Tensor) -> Tensor:
    """The numbers of the True columns of each row behind their count, then columns that are not visited: (X, 1 + Y)."""
    order_XY = needed_XY.logical_not().sort(dim=1, stable=True).indices
    return torch.cat([needed_XY.sum(1, keepdim=True), order_XY], dim=1).int().contiguous()
