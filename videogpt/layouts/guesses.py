"""Guesses of codes that are not drawn yet: lanes read them in place of codes, and a training can do the same.

    guess = tokens[guess_of(number, places, raster)]       # tokens: codes, and the guesses made so far
    read_THW = with_guesses(codes_THW, lines_TH, raster)   # what the lane `next-row` reads while it draws these lines

A guess is the code at the same place of the latent frame before; in the first latent frame, the last known code.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from einops import repeat
from torch import Tensor

from videogpt.layouts.raster import Raster

# M codes, T latent frames, H/W latent grid


def guess_of(number: int, places: Sequence[int], raster: Raster) -> int:
    """Number of the token whose code, or guess, is the guess of token `number`, of those drawn at `places` in order."""
    earlier = number - raster.frame_tokens
    known = earlier >= 0 and places[earlier] == places[number] - raster.frame_tokens
    return earlier if known else number - 1


def with_guesses(codes_THW: Tensor, lines_TH: Tensor, raster: Raster) -> Tensor:
    """Codes of a clip; in lines that are true in `lines_TH`, what `next-row` reads in the pass that draws the line.

    That are guesses from the codes of earlier lines, but for two: the clip's first code is drawn alone, and the last
    of a line is not read before it is drawn.
    """
    codes_M = codes_THW.flatten()
    guesses_M = codes_M[torch.tensor(_sources(len(codes_M), raster))]
    lines_M = repeat(lines_TH, "t h -> (t h w)", w=raster.latent_width)
    return guesses_M.where(lines_M, codes_M).view_as(codes_THW)


@lru_cache(maxsize=16)
def _sources(count: int, raster: Raster) -> list[int]:
    """For every token, the one whose code is read in its place while its line is drawn."""
    sources, width = [], raster.latent_width
    for number in range(count):
        guess = guess_of(number, range(count), raster)
        is_code = number == 0 or (number + 1) % width == 0
        in_line = guess // width == number // width
        sources.append(number if is_code else sources[guess] if in_line else guess)
    return sources
