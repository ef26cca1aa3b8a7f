"""Codes that are given come back as they are, and the others are drawn as the plain lane draws them after these."""

import pytest
import torch
from torch import Tensor

from videogpt.layouts.task import TO_DRAW, Example
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import LANES, FrameSampler, sample_frames

TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)]]
CONFIG = SamplingConfig(temperature=0.8, guidance_scale=2.0, top_p=0.9)
EXACT = [name for name, lane in LANES.items() if lane.exact]


def given(kind: str) -> list[Tensor | None]:
    """Codes (T, 2, 3) of each sample: a beginning, holes, or of one sample alone."""
    codes_THW = torch.randint(75, (3, 2, 3), generator=torch.Generator().manual_seed(5))
    if kind == "beginning":
        return [codes_THW[:2], codes_THW[:1], codes_THW[1:]]
    if kind == "holes":
        hidden = torch.rand(3, 3, 2, 3, generator=torch.Generator().manual_seed(6)) < 0.4
        return [codes_THW.masked_fill(row, TO_DRAW) for row in hidden]
    return [None, codes_THW, None]


def sampler(model, name: str, codes: list[Tensor | None], **options) -> FrameSampler:
    examples = [Example(text, codes_THW) for text, codes_THW in zip(TEXTS, codes, strict=True)]
    return sample_frames(model.network, model.task, CONFIG, examples, [0, 1, 2], 3, lane=name, **options)


def codes(of: FrameSampler) -> Tensor:
    """BTHW."""
    return torch.stack(list(of), dim=1)


@pytest.mark.parametrize("kind", ["beginning", "holes", "one of three"])
@pytest.mark.parametrize("name", LANES)
def test_given_codes_come_back(tiny_model, name: str, kind: str) -> None:
    found_BTHW = codes(sampler(tiny_model, name, given(kind)))
    for found_THW, given_THW in zip(found_BTHW, given(kind), strict=True):
        if given_THW is not None:
            known_THW = given_THW != TO_DRAW
            assert torch.equal(found_THW[: len(given_THW)][known_THW], given_THW[known_THW])


@pytest.mark.parametrize("kind", ["beginning", "holes", "one of three"])
@pytest.mark.parametrize("window", [1, 4, None])
def test_the_jacobi_lane_draws_the_others_as_the_eager_one(tiny_model, kind: str, window: int | None) -> None:
    expected = codes(sampler(tiny_model, "eager", given(kind)))
    assert torch.equal(codes(sampler(tiny_model, "jacobi", given(kind), window=window)), expected)


def test_what_a_clip_would_have_drawn_changes_nothing(tiny_model) -> None:
    """Its own first frames, given, lead to its own last ones; others lead elsewhere."""
    whole_BTHW = codes(sampler(tiny_model, "eager", [None] * 3))
    for name in EXACT:
        assert torch.equal(codes(sampler(tiny_model, name, [*whole_BTHW[:, :2]])), whole_BTHW)
        assert not torch.equal(codes(sampler(tiny_model, name, given("beginning"))), whole_BTHW)


def test_a_run_of_given_codes_takes_one_pass(tiny_model) -> None:
    codes_THW = torch.zeros(2, 2, 3, dtype=torch.long)
    found = sampler(tiny_model, "jacobi", [codes_THW] * 3, window=1)
    codes(found)
    assert found.lane.passes == 1 + 1 + 6, "the prompt, the two given frames, then six codes"


def test_samples_that_share_a_prompt_keep_their_own_codes(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr("videogpt.sampling.lanes.eager.shares_prompts", lambda device: True)
    expected = codes(sampler(tiny_model, "eager", given("holes")))
    monkeypatch.undo()
    assert torch.equal(codes(sampler(tiny_model, "eager", given("holes"))), expected)


@pytest.mark.parametrize(
    ("codes_THW", "said"),
    [
        (torch.zeros(1, 2, 2, dtype=torch.long), "given codes are of shape"),
        (torch.zeros(4, 2, 3, dtype=torch.long), "given codes are of shape"),
        (torch.full((1, 2, 3), 75), "code 75 is not below codebook_size 75"),
        (torch.full((1, 2, 3), -2), "code -2 is not below"),
    ],
)
def test_codes_that_do_not_fit_are_refused(tiny_model, codes_THW: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sampler(tiny_model, "eager", [codes_THW] * 3)
