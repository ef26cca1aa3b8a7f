"""Masks: something is hidden and something is not, every kind is what its name says, pixels round to whole codes."""

import numpy as np
import pytest
import torch

from videogpt.layouts.masks import KINDS, cells_of, draw_mask


@pytest.mark.parametrize("shape", [(5, 8, 8), (1, 4, 4), (3, 1, 1), (2, 1, 5), (1, 1, 2)])
def test_some_codes_are_hidden_and_some_are_not(shape: tuple[int, int, int]) -> None:
    for seed in range(50):
        hidden_THW = draw_mask(shape, np.random.default_rng(seed))
        assert tuple(hidden_THW.shape) == shape and hidden_THW.any() and not hidden_THW.all()
    assert draw_mask((1, 1, 1), np.random.default_rng(0)).all()


def test_a_seed_gives_the_same_mask_and_others_give_others() -> None:
    masks = [draw_mask((5, 8, 8), np.random.default_rng(seed)) for seed in [*range(40), 0]]
    assert torch.equal(masks[0], masks[-1])
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_its_name_says(kind: str) -> None:
    for seed in range(20):
        hidden_THW = KINDS[kind]((5, 8, 8), np.random.default_rng(seed))
        if kind in ("box", "around", "side"):
            assert (hidden_THW == hidden_THW[0]).all(), "all frames are alike"
            box_HW = hidden_THW[0] if kind != "around" else ~hidden_THW[0]
            lines, columns = box_HW.any(dim=1), box_HW.any(dim=0)
            assert torch.equal(box_HW, lines[:, None] & columns[None])
            assert kind != "side" or lines.all() or columns.all()
        elif kind == "moment":
            shown = hidden_THW.flatten(1).any(dim=1)
            (box_HW,) = {tuple(map(tuple, frame.tolist())) for frame in hidden_THW[shown]}
            assert torch.equal(hidden_THW[shown], torch.tensor(box_HW).expand(int(shown.sum()), -1, -1))
            assert shown.int().diff().abs().sum() <= 2, "the frames are in a row"
        else:
            whole_T = hidden_THW.flatten(1)
            assert (whole_T == whole_T[:, :1]).all(), "frames are hidden as a whole"
            assert kind != "between" or (not whole_T[-1].any() and whole_T[1:-1].all())


def test_a_code_is_hidden_where_any_of_its_pixels_is() -> None:
    hidden_THW = torch.zeros(9, 16, 24, dtype=torch.bool)
    hidden_THW[0, 0, 7] = hidden_THW[5, 15, 23] = True
    cells_THW = cells_of(hidden_THW, 1, 4, 8)
    assert cells_THW.shape == (3, 2, 3)
    assert cells_THW.nonzero().tolist() == [[0, 0, 0], [2, 1, 2]]
