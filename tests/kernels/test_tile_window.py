"""Tile order: a permutation that can be undone, of whole tiles."""

import pytest
import torch

from videogpt_kernels import TileWindow
from videogpt_kernels.tile_window import from_tile_order, to_tile_order


@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (4, 6), (4, 1)])
@pytest.mark.parametrize("further", [(), (5,)])
def test_tile_order_is_undone(tile: tuple[int, int], further: tuple[int, ...]):
    x_BTHW = torch.randn(2, 3, 4, 6, *further)
    rows = to_tile_order(x_BTHW, tile)
    assert rows.shape == (2, 72, *further)
    assert from_tile_order(rows, tile, 4, 6).equal(x_BTHW)


def test_rows_of_a_tile_lie_side_by_side():
    """Two frames of 4x6 in tiles of 2x3: the number of a row's tile is its place, divided by 6."""
    t, h, w = torch.meshgrid(torch.arange(2), torch.arange(4), torch.arange(6), indexing="ij")
    tile_THW = t * 4 + h // 2 * 2 + w // 3
    assert to_tile_order(tile_THW[None], (2, 3))[0].tolist() == [row // 6 for row in range(48)]
    assert to_tile_order((h * 6 + w)[None], (2, 3))[0, :6].tolist() == [0, 1, 2, 6, 7, 8]


def test_what_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="tiles of 3x3 do not divide a frame of 4x6"):
        to_tile_order(torch.zeros(1, 2, 4, 6), (3, 3))
    with pytest.raises(ValueError, match="50 rows are no whole frames of 4x6"):
        from_tile_order(torch.zeros(1, 50), (2, 3), 4, 6)


@pytest.mark.parametrize(
    "change, word", [({"tile_tokens": 0}, "tile_tokens is 0"), ({"reach_wide": -1}, "reach_wide is -1")]
)
def test_numbers_out_of_range_are_refused(change: dict, word: str):
    good = {"tile_tokens": 4, "tiles_high": 2, "tiles_wide": 2, "reach_high": 1, "reach_wide": 1}
    with pytest.raises(ValueError, match=word):
        TileWindow(**(good | change))
