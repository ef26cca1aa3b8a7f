"""Each filter against a plain Python definition of it, and draws against their probabilities."""

import math
from dataclasses import asdict
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import gumbel_noise
from videogpt.sampling.filters import filter_logits, keep_min_p, keep_top_k, keep_top_p

ROWS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12, unique=True)


def probabilities(row: list[float]) -> list[float]:
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def kept(logits_BV: torch.Tensor) -> set[int]:
    return set(logits_BV[0].isfinite().nonzero().flatten().tolist())


@settings(deadline=None)
@given(ROWS, st.integers(1, 15))
def test_top_k_keeps_the_k_largest(row: list[float], top_k: int) -> None:
    expected = set(sorted(range(len(row)), key=lambda i: -row[i])[:top_k])
    assert kept(keep_top_k(torch.tensor([row]), top_k)) == expected


@settings(deadline=None)
@given(ROWS, st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_that_reach_p(row: list[float], top_p: float) -> None:
    order = sorted(range(len(row)), key=lambda i: -row[i])
    sums = list(accumulate(probabilities(row)[i] for i in order))
    expected = set(order[: 1 + sum(total < top_p for total in sums)])
    found = kept(keep_top_p(torch.tensor([row]), top_p))
    # A sum within rounding of p may fall on either side.
    assert found == expected or min(abs(total - top_p) for total in sums) < 1e-5


@settings(deadline=None)
@given(ROWS, st.floats(0.0, 1.0))
def test_min_p_keeps_what_is_likely_beside_the_best(row: list[float], min_p: float) -> None:
    chances = probabilities(row)
    close = {i for i, chance in enumerate(chances) if abs(chance - min_p * max(chances)) < 1e-6}
    expected = {i for i, chance in enumerate(chances) if chance >= min_p * max(chances)}
    assert kept(keep_min_p(torch.tensor([row]), min_p)) - close == expected - close


def test_ties_with_the_last_kept_survive_top_k() -> None:
    assert kept(keep_top_k(torch.tensor([[1.0, 3.0, 1.0, 0.0]]), 2)) == {0, 1, 2}


def test_filters_apply_in_order_to_what_is_left() -> None:
    """Top-p counts probabilities among the codes that top-k left, not among all."""
    logits_BV = torch.tensor([[2.0, 2.0, 1.9, 1.9]])
    assert len(kept(filter_logits(logits_BV, SamplingConfig(top_k=2, top_p=0.5)))) == 1
    assert len(kept(filter_logits(logits_BV, SamplingConfig(top_p=0.6)))) == 3


def test_rows_are_filtered_independently_and_kept_values_unchanged() -> None:
    logits_BV = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    config = SamplingConfig(top_k=20, top_p=0.8, min_p=0.1)
    together = filter_logits(logits_BV, config)
    alone = torch.cat([filter_logits(row[None], config) for row in logits_BV])
    assert torch.equal(together, alone)
    assert torch.equal(together[together.isfinite()], logits_BV[together.isfinite()])
    assert 5 <= together.isfinite().sum() < 100


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 0.5, 2.0])
def test_temperature_scales_differences_and_never_overflows(temperature: float) -> None:
    logits_BV = torch.tensor([[100.0, 101.0, -50.0]])
    found = filter_logits(logits_BV, SamplingConfig(temperature=temperature, min_p=0.01)).softmax(dim=-1)
    assert torch.isfinite(found).all() and found.argmax() == 1
    assert found[0, 0].item() == pytest.approx(1 / (1 + math.exp(min(1 / temperature, 99))), abs=1e-2)


def test_gumbel_draws_follow_the_probabilities_and_never_take_removed_codes() -> None:
    logits_V = torch.tensor([0.0, 1.0, float("-inf"), 2.0])
    draws = (logits_V + gumbel_noise((20_000, 4), torch.Generator().manual_seed(0))).argmax(dim=-1)
    found = draws.bincount(minlength=4) / 20_000
    assert found[2] == 0
    assert torch.allclose(found, logits_V.softmax(dim=0), atol=0.012)  # three standard deviations


OUT_OF_RANGE: dict[str, list[float]] = {
    "temperature": [-0.1, math.nan, math.inf],
    "top_k": [0],
    "top_p": [0.0, 1.1],
    "min_p": [-0.1, 1.5],
    "guidance_scale": [-1.0, math.nan],
}


@pytest.mark.parametrize("setting, value", [(name, value) for name, all_ in OUT_OF_RANGE.items() for value in all_])
def test_bad_settings_are_named_with_their_value(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{setting} is {value}.*must be"):
        SamplingConfig(**{setting: value})


def test_no_setting_means_no_filter() -> None:
    logits_BV = torch.randn(2, 9, generator=torch.Generator().manual_seed(1))
    config = SamplingConfig(top_k=9, top_p=1.0, min_p=0.0)
    assert torch.equal(filter_logits(logits_BV, config), logits_BV)
    assert asdict(SamplingConfig())["guidance_scale"] == 1.0
