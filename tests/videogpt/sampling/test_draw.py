"""Noise belongs to (seed, place): whatever the order, the batch, and how often it is asked for."""

import pytest
import torch

from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import Draw, PlaceNoise, gumbel_noise

CPU = torch.device("cpu")


def noise(*seeds: int) -> PlaceNoise:
    return PlaceNoise(seeds, codebook_size=7, line=3, device=CPU)


def test_noise_of_a_place_is_a_function_of_seed_and_place() -> None:
    forward, backward, alone = noise(3, 5), noise(3, 5), noise(5)
    expected = [forward.at(place) for place in range(12)]
    for place in reversed(range(12)):
        assert torch.equal(backward.at(place), expected[place])
        assert torch.equal(backward.at(place), expected[place]), "asked again"
        assert torch.equal(alone.at(place)[0], expected[place][1])


def test_noise_is_what_the_generator_of_the_seed_gives_line_by_line() -> None:
    generator = torch.Generator().manual_seed(3)
    lines = [gumbel_noise((3, 7), generator) for _ in range(2)]
    found = torch.stack([noise(3).at(place)[0] for place in range(6)])
    assert torch.equal(found, torch.cat(lines))


def test_a_line_is_forgotten_once_all_its_places_are_done() -> None:
    places = noise(3)
    places.at(4)
    for place in (0, 1, 2):
        places.done(place)
    with pytest.raises(AssertionError, match="place 1 was done"):
        places.at(1)
    assert places.at(3).shape == (1, 7)


def test_without_temperature_the_likeliest_is_drawn_and_no_noise_is_made() -> None:
    draw = Draw(SamplingConfig(temperature=0.0), [0, 1], codebook_size=7, line=3, device=CPU)
    logits_BV = torch.randn(2, 7)
    assert draw.noise is None and torch.equal(draw(logits_BV[:, None], [[0], [0]])[:, 0], logits_BV.argmax(dim=-1))


def test_guidance_goes_on_from_the_free_logits_through_the_prompted_ones() -> None:
    draw = Draw(SamplingConfig(temperature=0.0, guidance_scale=2.0), [0], codebook_size=3, line=1, device=CPU)
    prompted, free = torch.tensor([1.0, 1.5, 0.0]), torch.tensor([0.0, 1.4, 0.0])
    assert draw(torch.stack([prompted, free])[:, None], [[0]]).tolist() == [[0]]
