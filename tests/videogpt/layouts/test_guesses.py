"""Guesses: which codes stand in for those that are not drawn yet."""

import torch

from videogpt.layouts.guesses import guess_of, with_guesses
from videogpt.layouts.raster import Raster

CODES_THW = torch.arange(12).reshape(2, 2, 3) + 100


def test_a_guess_is_the_code_of_the_frame_before_or_the_last_one() -> None:
    assert [guess_of(number, range(12), Raster(2, 3)) for number in range(1, 9)] == [0, 1, 2, 3, 4, 0, 1, 2]


def test_where_places_are_left_out_the_code_of_the_same_place_is_not_that_many_before() -> None:
    places = [0, 1, 2, 4, 6, 8]
    assert [guess_of(number, places, Raster(1, 3)) for number in (3, 4, 5)] == [2, 3, 4]


def test_every_line_as_guesses_by_hand() -> None:
    found = with_guesses(CODES_THW, torch.ones(2, 2, dtype=torch.bool), Raster(2, 3)) - 100
    assert found.tolist() == [[[0, 0, 2], [2, 2, 5]], [[0, 1, 8], [3, 4, 11]]]


def test_other_lines_are_codes_and_so_is_what_guesses_come_from() -> None:
    lines_TH = torch.tensor([[True, True], [False, True]])
    found = with_guesses(CODES_THW, lines_TH, Raster(2, 3)) - 100
    assert found.tolist() == [[[0, 0, 2], [2, 2, 5]], [[6, 7, 8], [3, 4, 11]]]


def test_lines_of_one_code_have_nothing_to_guess() -> None:
    codes_THW = CODES_THW.reshape(2, 6, 1)
    assert torch.equal(with_guesses(codes_THW, torch.ones(2, 6, dtype=torch.bool), Raster(6, 1)), codes_THW)
