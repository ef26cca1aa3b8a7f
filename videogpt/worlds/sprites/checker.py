"""Reads a sprite clip back: of all clips of the world, which one do these pixels show?

    checker = SpritesChecker(sheets)
    match = checker.read(frames_THWC)                  # uint8 RGB, 17 x 64 x 64 x 3
    match.number, match.sprite, match.error             # number, attributes and distance of the nearest clip

First the nearest of all 68,600 clips in the sum of squared differences, found exactly in a tenth of a
second: a pixel shows the topmost layer that covers it, so the distance splits into sums over layers, and
those of all characters for one action and direction are one matrix product. (The few half-transparent
pixels are taken as drawn on black.) Then, where the pixels are blurred, as those of a generated clip are,
layers are changed one at a time for as long as the clip, blurred alike, comes nearer: blur mixes thin legs
with their dark outlines, and the plain distance then prefers darker ones.
"""

from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from videogpt.worlds.sprites.scene import ACTIONS, DIRECTIONS, LAYERS, Sprite
from videogpt.worlds.sprites.sheets import CELL, SpriteSheets
from videogpt.worlds.world import NUM_FRAMES

# V variants of a layer (K, L, M, N for hair, topwear, bottomwear, body), T cells of an action, H/W height and
# width, C colours (red, green, blue), P pixels of all cells that any layer covers, Q = K*L, R = M*N

Float32s = NDArray[np.float32]

BLURS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)
"""Standard deviations of Gaussian blur tried, in pixels."""


class _Match(NamedTuple):
    """The clip that some frames show."""

    number: int
    sprite: Sprite
    blur: float
    """One of BLURS: how much the frames are blurred."""
    error: float
    """Mean squared difference of the colour values (0 to 255) to the clip so blurred: 0 is the very clip."""


_error = attrgetter("error")


class _Cells(NamedTuple):
    """One action and direction, with all variants of each layer."""

    used_THW: NDArray[np.bool_]  # pixels that any layer covers; P of them
    repeats_P: Float32s  # how often a clip shows the cell
    covers: dict[str, Float32s]  # VP: 1 where a variant covers what is below it, else 0
    colours: dict[str, Float32s]  # VPC


class SpritesChecker:
    """Holds the sheets in the form that comparing needs, about 150 MB."""

    def __init__(self, sheets: SpriteSheets) -> None:
        self.sheets = sheets
        directions = range(len(DIRECTIONS))
        self._cells = [[_cells_of(sheets.cells(action, d)) for d in directions] for action in ACTIONS]

    def read(self, frames_THWC: NDArray[np.uint8]) -> _Match:
        """The clip of the world that is nearest to the frames; ValueError for frames of another shape."""
        if frames_THWC.shape != (NUM_FRAMES, CELL, CELL, 3):
            raise ValueError(f"frames are {frames_THWC.shape}, a sprite clip is {(NUM_FRAMES, CELL, CELL, 3)}")
        video_THWC = frames_THWC.astype(np.float32)
        nearest = self._nearest(video_THWC)
        match = min((self._match(video_THWC, nearest, blur) for blur in BLURS), key=_error)
        while match.blur > 0:
            others = (self._match(video_THWC, other, match.blur) for other in self._neighbours(match.number))
            better = min(others, key=_error)
            if better.error >= match.error:
                break
            match = min((self._match(video_THWC, better.number, blur) for blur in BLURS), key=_error)
        return match

    def _nearest(self, video_THWC: Float32s) -> int:
        """Number of the clip with the least squared distance, out of all."""
        distances = np.array([[_distances(c, video_THWC) for c in of_action] for of_action in self._cells])
        return int(rearrange(distances, "a d n m l k -> n m l k a d").argmin())

    def _neighbours(self, number: int) -> Iterator[int]:
        """Clips that differ in one layer."""
        place = np.unravel_index(number, self.sheets.shape)
        for layer in range(len(LAYERS)):
            for variant in set(range(self.sheets.shape[layer])) - {int(place[layer])}:
                other = (*place[:layer], variant, *place[layer + 1 :])
                yield int(np.ravel_multi_index(other, self.sheets.shape))

    def _match(self, video_THWC: Float32s, number: int, blur: float) -> _Match:
        pictures_THWC = _blurred(self.sheets.pictures(number), blur)
        shown_THWC = pictures_THWC[np.arange(NUM_FRAMES) % len(pictures_THWC)]
        error = float(np.square(video_THWC - shown_THWC).mean())
        return _Match(number, self.sheets.sprite(number), blur, error)


def _blurred(pictures_THWC: Float32s, blur: float) -> Float32s:
    if blur == 0:
        return pictures_THWC
    offsets_HH = np.subtract.outer(np.arange(CELL), np.arange(CELL)) / blur
    weights_HH = np.exp(-0.5 * np.square(offsets_HH)).astype(np.float32)
    weights_HH /= weights_HH.sum(axis=1, keepdims=True)
    return np.einsum("ih,jw,thwc->tijc", weights_HH, weights_HH, pictures_THWC, optimize=True)


def _cells_of(cells: dict[str, NDArray[np.uint8]]) -> _Cells:
    used_THW = np.any([cells_VTHWC[..., 3].any(axis=0) for cells_VTHWC in cells.values()], axis=0)
    covers, colours = {}, {}
    for layer, cells_VTHWC in cells.items():
        pixels_VPC = cells_VTHWC[:, used_THW].astype(np.float32)
        alpha_VPC = pixels_VPC[..., 3:] / np.float32(255)
        covers[layer] = (alpha_VPC[..., 0] >= 0.5).astype(np.float32)
        colours[layer] = np.multiply(pixels_VPC[..., :3], alpha_VPC, dtype=np.float32)
    shown = np.bincount(np.arange(NUM_FRAMES) % len(used_THW)).astype(np.float32)
    repeats_P = np.broadcast_to(rearrange(shown, "t -> t 1 1"), used_THW.shape)[used_THW]
    return _Cells(used_THW, repeats_P, covers, colours)


def _distances(cells: _Cells, video_THWC: Float32s) -> Float32s:
    """Squared distances of a video to all characters, NMLK, less the square of the video itself."""
    count = len(cells.used_THW)
    cells_sum_THWC = np.stack([video_THWC[t::count].sum(axis=0) for t in range(count)])
    sum_PC = cells_sum_THWC[cells.used_THW]
    covers, costs = cells.covers, {}  # both VP
    for layer, colour_VPC in cells.colours.items():
        square_VP = np.einsum("vpc,vpc->vp", colour_VPC, colour_VPC)
        costs[layer] = cells.repeats_P * square_VP - 2 * np.einsum("vpc,pc->vp", colour_VPC, sum_PC)
    free_P = 1 - covers["shoes"][0]
    hair_K = (free_P * covers["hair"] * costs["hair"]).sum(axis=1)
    below_hair_KP = free_P * (1 - covers["hair"])
    top_KL = below_hair_KP @ (covers["topwear"] * costs["topwear"]).T
    below_top_QP = rearrange(below_hair_KP[:, None] * (1 - covers["topwear"]), "k l p -> (k l) p")
    bottom_M1P = (covers["bottomwear"] * costs["bottomwear"])[:, None]
    lower_MNP = bottom_M1P + (1 - covers["bottomwear"][:, None]) * costs["body"]
    lower_QR = below_top_QP @ rearrange(lower_MNP, "m n p -> p (m n)")
    lower_KLMN = rearrange(lower_QR, "(k l) (m n) -> k l m n", k=len(hair_K), m=len(bottom_M1P))
    shoes_cost = (covers["shoes"][0] * costs["shoes"][0]).sum()
    total_KLMN = shoes_cost + hair_K[:, None, None, None] + top_KL[:, :, None, None] + lower_KLMN
    return rearrange(total_KLMN, "k l m n -> n m l k")
