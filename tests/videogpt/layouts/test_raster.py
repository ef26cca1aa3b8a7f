"""The raster scan: frames, then lines, then columns, and back."""

import torch

from videogpt.layouts.raster import Raster

RASTER = Raster(2, 3)


def test_codes_come_back_from_the_scan() -> None:
    codes_BTHW = torch.arange(24).view(2, 2, 2, 3)
    codes_BM = RASTER.flatten(codes_BTHW)
    assert codes_BM[0].tolist() == list(range(12))
    assert torch.equal(RASTER.frames(codes_BM), codes_BTHW)


def test_places_count_frames_then_lines_then_columns() -> None:
    assert RASTER.places(torch.tensor([5, 6, 7])).tolist() == [[0, 1, 2], [1, 0, 0], [1, 0, 1]]
    assert RASTER.places(torch.tensor([6 * 100 + 4])).tolist() == [[100, 1, 1]]
