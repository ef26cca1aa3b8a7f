"""Which codes of a clip are hidden: drawn at random for training, and from pixels.

    hidden_THW = draw_mask((5, 8, 8), rng)             # one of `KINDS`, each as likely
    hidden_THW = cells_of(mask_THW, 1, 4, 8)           # of pixels: a code of which any pixel is hidden is hidden

Training meets what people ask for: a box to be filled in, always or for a moment, or to be drawn around, one side of
the picture, all between the first and the last latent frame, or between every so many of them.
"""

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

# T/H/W latent grid, or frames and pixels of a mask


def draw_mask(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """Bool (T, H, W): where codes are hidden; some are, and in grids of more than one code some are not."""
    kinds = list(KINDS.values())
    while True:
        hidden_THW = kinds[draw.integers(len(kinds))](shape_THW, draw)
        if hidden_THW.any() and (not hidden_THW.all() or hidden_THW.numel() == 1):
            return hidden_THW


def _box(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """A box of the picture, in all frames."""
    inside_THW = torch.zeros(shape_THW, dtype=torch.bool)
    (top, bottom), (left, right) = (_stretch(length, draw) for length in shape_THW[1:])
    inside_THW[:, top:bottom, left:right] = True
    return inside_THW


def _moment(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """A box of the picture, in some latent frames in a row."""
    hidden_THW = _box(shape_THW, draw)
    first, stop = _stretch(shape_THW[0], draw)
    hidden_THW[:first] = hidden_THW[stop:] = False
    return hidden_THW


def _around(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """All but a box."""
    return ~_box(shape_THW, draw)


def _side(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """One side of the picture, in all frames."""
    hidden_THW = torch.zeros(shape_THW, dtype=torch.bool)
    axis = int(draw.integers(1, 3))
    cut = int(draw.integers(1, max(shape_THW[axis], 2)))
    hidden_THW.narrow(axis, 0, cut).fill_(True)
    return hidden_THW.flip(axis) if draw.random() < 0.5 else hidden_THW


def _between(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """All latent frames but the first and the last, or the last alone."""
    hidden_THW = torch.ones(shape_THW, dtype=torch.bool)
    hidden_THW[-1] = False
    hidden_THW[0] = draw.random() < 0.5
    return hidden_THW


def _every(shape_THW: tuple[int, int, int], draw: np.random.Generator) -> Tensor:
    """All latent frames but every so many."""
    hidden_THW = torch.ones(shape_THW, dtype=torch.bool)
    step = int(draw.integers(2, max(shape_THW[0], 3)))
    hidden_THW[int(draw.integers(step)) :: step] = False
    return hidden_THW


def _stretch(length: int, draw: np.random.Generator) -> tuple[int, int]:  # first and one behind the last
    size = int(draw.integers(1, length + 1))
    first = int(draw.integers(length - size + 1))
    return first, first + size


KINDS: dict[str, Callable[[tuple[int, int, int], np.random.Generator], Tensor]] = {
    "box": _box,
    "moment": _moment,
    "around": _around,
    "side": _side,
    "between": _between,
    "every": _every,
}
"""Kinds of masks that training draws."""


def cells_of(hidden_THW: Tensor, first_frames: int, time_stride: int, space_stride: int) -> Tensor:
    """Bool mask of pixels -> of codes: a code is hidden where any of its pixels is. Whole codes alone."""
    first_THW, rest_THW = hidden_THW[:first_frames], hidden_THW[first_frames:]
    sides = {"h2": space_stride, "w2": space_stride}
    cells = [rearrange(first_THW, "t (h h2) (w w2) -> 1 h w (t h2 w2)", **sides)]
    cells.append(rearrange(rest_THW, "(t t2) (h h2) (w w2) -> t h w (t2 h2 w2)", t2=time_stride, **sides))
    return torch.cat([cell.any(dim=-1) for cell in cells])


def pixels_of(cells_THW: Tensor, first_frames: int, time_stride: int, space_stride: int) -> Tensor:
    """Bool mask of codes -> of all their pixels."""
    counts_T = torch.tensor([first_frames, *[time_stride] * (len(cells_THW) - 1)])
    pixels_THW = cells_THW.repeat_interleave(counts_T, dim=0)
    return pixels_THW.repeat_interleave(space_stride, dim=1).repeat_interleave(space_stride, dim=2)
