"""Which tiles of keys each tile of queries visits, and the reverse: what no row of a tile sees costs nothing.

    limits_B4M = row_limits(visibility, query_start, num_queries)
    visits_BT4 = key_visits(limits_B4M, num_keys, shape)            # forward, and the gradient of the queries
    visits_BS2 = query_visits(visits_BT4, num_keys, shape)          # the gradient of keys and values

Everything is computed on the device of the visibility without waiting for it, and depends on no input of
attention: one plan serves all layers and heads.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels.visibility import NOWHERE, Visibility

# B batch, M query rows, N key rows, T tiles of query rows, S tiles of key rows


class TileShape(NamedTuple):
    """Rows of a tile of scores."""

    queries: int
    keys: int


def row_limits(visibility: Visibility, query_start: int, num_queries: int) -> Tensor:
    """`Visibility.intervals` as one int32 tensor (B, 4, M): prefix start, prefix end, low, high (inclusive)."""
    return torch.stack(visibility.intervals(query_start, num_queries), dim=1).contiguous()


def key_visits(limits_B4M: Tensor, num_keys: int, shape: TileShape) -> Tensor:
    """Tiles of keys that each tile of queries reads: int32 (B, T, 4), [first, end) of the prefixes of its rows
    and [first, end) of the rest. The two do not overlap; each is the hull of what the rows see, or empty."""
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


def query_visits(visits_BT4: Tensor, num_keys: int, shape: TileShape) -> Tensor:
    """Tiles of queries that read each tile of keys: int32 (B, S, 2), [first, end), a hull, or empty."""
    tiles = visits_BT4.shape[1]
    tile_S = torch.arange(-(-num_keys // shape.keys), dtype=torch.int32, device=visits_BT4.device)
    prefix_first, prefix_end, first, end = visits_BT4[..., None].unbind(2)
    read_BTS = ((tile_S >= prefix_first) & (tile_S < prefix_end)) | ((tile_S >= first) & (tile_S < end))
    tile_T1 = torch.arange(tiles, dtype=torch.int32, device=visits_BT4.device)[:, None]
    end_BS = torch.where(read_BTS, tile_T1 + 1, 0).amax(1)
    first_BS = torch.minimum(torch.where(read_BTS, tile_T1, tiles).amin(1), end_BS)
    return torch.stack([first_BS, end_BS], dim=-1).int().contiguous()


def _reduce(x_BM: Tensor, rows: int, fill: int, how: str) -> Tensor:
    """The least ("amin") or greatest ("amax") number of each tile of rows: BT."""
    x_BM = F.pad(x_BM, (0, -x_BM.shape[1] % rows), value=fill)
    return getattr(x_BM.unflatten(1, (-1, rows)), how)(-1)
