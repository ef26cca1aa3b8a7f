"""Infill: part of a clip is given, the rest is drawn. Boxes, sides, what is around a box, frames between others.

The codes that are given stand in the prefix, so that every code that is drawn sees all of them, also those behind it;
then comes the whole clip, in which they are forced. One layout serves every mask (`text_to_video.py`).
"""

from typing import ClassVar

import numpy as np

from videogpt.layouts.masks import draw_mask
from videogpt.layouts.task import TO_DRAW, Example
from videogpt.layouts.text_to_video import TextToVideo


class Infill(TextToVideo):
    """Predicts what is hidden of a clip from the rest of it, and from its caption."""

    prefix_codes: ClassVar[tuple[str, ...]] = ("given",)
    answers: ClassVar[tuple[str, ...]] = ("infill",)

    def shown(self, example: Example, draw: np.random.Generator) -> Example:
        """The clip with all but a random mask given."""
        codes_THW = example.codes_THW
        assert codes_THW is not None, "to train, codes are given"
        frames, height, width = codes_THW.shape
        hidden_THW = draw_mask((frames, height, width), draw)
        return example._replace(prefix_codes={"given": codes_THW.masked_fill(hidden_THW, TO_DRAW)})
