"""Windows in three dimensions that cost what they show: frames cut into tiles, and rows stored tile by tile.

    codes_BN = to_tile_order(codes_BTHW, tile=(8, 8))                    # before the sequence is laid out
    window = TileWindow(tile_tokens=64, tiles_high=5, tiles_wide=8, reach_high=1, reach_wide=1)
    rules = {"frame_tokens": window.frame_tokens, "window_frames": 4, "tile_window": window}
    visibility = Visibility.prefix_body(prefix_B, body_start, **rules)

In raster order a window of single tokens touches nearly every block of scores that it crosses, and hides most of
it (Hassani et al., "Faster Neighborhood Attention", arXiv 2403.04690; "Generalized Neighborhood Attention", arXiv
2504.16922). A window of whole tiles over rows in tile order hides nothing of the blocks it visits. Refuses tiles
that do not divide their frames.
"""

from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

# B batch, T/H/W latent frames, height and width, N = T * H * W rows, M query rows


@dataclass(frozen=True, kw_only=True)
class TileWindow:
    """Which tiles of a frame see each other. Raises ValueError for numbers out of range."""

    tile_tokens: int
    """Rows of a tile."""
    tiles_high: int
    """Tiles of a frame, one above the other."""
    tiles_wide: int
    """Tiles of a frame, side by side."""
    reach_high: int
    """Tiles seen above and below one's own."""
    reach_wide: int
    """Tiles seen to the left and the right of one's own."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name.startswith("reach") else 1
            if value < least:
                raise ValueError(f"{name} is {value}; give at least {least}")

    @property
    def frame_tokens(self) -> int:
        """Rows of a frame."""
        return self.tile_tokens * self.tiles_high * self.tiles_wide

    def near(self, tile: Tensor, other: Tensor) -> Tensor:
        """Whether tiles, numbered through the body, lie within reach of each other, whatever their frames."""
        tile, other = (x % (self.tiles_high * self.tiles_wide) for x in (tile, other))
        high = (tile // self.tiles_wide - other // self.tiles_wide).abs() <= self.reach_high
        return high & ((tile % self.tiles_wide - other % self.tiles_wide).abs() <= self.reach_wide)


def to_tile_order(x_BTHW: Tensor, tile: tuple[int, int]) -> Tensor:
    """Frames tile by tile, (B, N, ...): within a tile, and tile after tile, row by row. Further axes stay."""
    _check_tile(x_BTHW.shape[2], x_BTHW.shape[3], tile)
    return rearrange(x_BTHW, "b t (i h) (j w) ... -> b (t i j h w) ...", h=tile[0], w=tile[1])


def from_tile_order(x_BN: Tensor, tile: tuple[int, int], height: int, width: int) -> Tensor:
    """The reverse of `to_tile_order`: (B, T, H, W, ...)."""
    _check_tile(height, width, tile)
    if x_BN.shape[1] % (height * width):
        raise ValueError(f"{x_BN.shape[1]} rows are no whole frames of {height}x{width}")
    (h, w), i = tile, height // tile[0]
    return rearrange(x_BN, "b (t i j h w) ... -> b t (i h) (j w) ...", i=i, j=width // w, h=h, w=w)


def _check_tile(height: int, width: int, tile: tuple[int, int]) -> None:
    if min(tile) < 1 or height % tile[0] or width % tile[1]:
        raise ValueError(f"tiles of {tile[0]}x{tile[1]} do not divide a frame of {height}x{width}")
