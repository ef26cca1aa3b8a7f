"""The Jacobi lane draws the codes of the eager one: any window, batch, guidance and filter; a wrong one would show."""

from argparse import ArgumentParser

import pytest
import torch
from torch import Tensor

from videogpt.commands.sample import add_arguments
from videogpt.layouts.task import Example
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.engines.torch_engine import TorchEngine
from videogpt.sampling.lanes.jacobi import JacobiLane
from videogpt.sampling.sampler import LANES, FrameSampler, find_lane, sample_frames

TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)], [5], [7, 8, 9]]
SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=0.3, guidance_scale=2.0, top_p=0.9),
    SamplingConfig(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02),
]


def lane(model, config: SamplingConfig, texts=TEXTS, seed: int = 0, name: str = "jacobi", **options) -> FrameSampler:
    frames, seeds = model.task.config.latent_frames, range(seed, seed + len(texts))
    examples = [Example(text) for text in texts]
    return sample_frames(model.network, model.task, config, examples, seeds, frames, lane=name, **options)


def codes(of: FrameSampler) -> Tensor:
    """BTHW."""
    return torch.stack(list(of), dim=1)


@pytest.mark.parametrize("window", [1, 2, 5, 17, 100, None])
@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_the_codes_are_those_of_the_eager_lane(tiny_model, config: SamplingConfig, window: int | None) -> None:
    for seed in range(3):
        expected = codes(lane(tiny_model, config, seed=seed, name="eager"))
        found = lane(tiny_model, config, seed=seed, window=window)
        assert torch.equal(codes(found), expected)
        assert found.lane.passes <= expected[0].numel() + 1


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_samples_that_share_a_prompt_too(tiny_model, config: SamplingConfig, monkeypatch) -> None:
    expected = codes(lane(tiny_model, config, name="eager"))
    monkeypatch.setattr("videogpt.sampling.lanes.eager.shares_prompts", lambda device: True)
    assert torch.equal(codes(lane(tiny_model, config, window=5)), expected)


def test_whoever_guesses_the_codes_are_the_same(tiny_model, monkeypatch) -> None:
    expected = codes(lane(tiny_model, SETTINGS[0], name="eager"))
    monkeypatch.setattr(JacobiLane, "_guess", lambda self, tokens, number: (7 * number) % 75)
    assert torch.equal(codes(lane(tiny_model, SETTINGS[0], window=6)), expected)


def test_a_right_draft_is_accepted_to_the_end_of_the_window(tiny_model, monkeypatch) -> None:
    expected_BN = codes(lane(tiny_model, SETTINGS[0], TEXTS[:1], name="eager")).flatten(1)
    monkeypatch.setattr(JacobiLane, "_guess", lambda self, tokens, number: int(expected_BN[0, number]))
    found = lane(tiny_model, SETTINGS[0], TEXTS[:1], window=6)
    assert torch.equal(codes(found).flatten(1), expected_BN)
    assert found.lane.passes == 1 + 3, "the prompt, then 17 codes by 6"


def test_a_lane_that_keeps_wrong_guesses_is_told(tiny_model, monkeypatch) -> None:
    def keep_all(self, sample: int, first: int, drawn: list[int]) -> None:
        self._tokens[sample][self._known[sample] :] = drawn[self._known[sample] - first :]
        self._known[sample] = first + len(drawn)

    expected = codes(lane(tiny_model, SETTINGS[0], name="eager"))
    monkeypatch.setattr(JacobiLane, "_keep", keep_all)
    assert not torch.equal(codes(lane(tiny_model, SETTINGS[0], window=6)), expected)


def test_the_command_line_knows_every_lane() -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    (choices,) = [action.choices for action in parser._actions if action.dest == "lane"]
    assert list(choices) == ["auto", *LANES]


def test_lanes_by_name(tiny_model) -> None:
    network = tiny_model.network
    engine = TorchEngine(network)
    assert find_lane("auto", network, engine) == "jacobi" and find_lane("auto", network, engine, 32) == "eager"
    assert find_lane("eager", network, engine) == "eager"
    with pytest.raises(ValueError, match="lane is 'fast'; choose auto, eager, jacobi, next-row, diagonal"):
        sample_frames(network, tiny_model.task, SamplingConfig(), [Example([])], [0], 1, lane="fast")
    with pytest.raises(ValueError, match="window is 4, but lane eager has none"):
        lane(tiny_model, SETTINGS[0], name="eager", window=4)
    with pytest.raises(ValueError, match="window is 0"):
        lane(tiny_model, SETTINGS[0], window=0)
    try:
        assert find_lane("auto", network.bfloat16(), engine) == "eager", "a seed means the same codes"
    finally:
        network.float()
