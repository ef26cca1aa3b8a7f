"""Captions as a training has them: settings that cannot be are refused by name."""

import math

import pytest

from videogpt.training.captions import TextConfig


@pytest.mark.parametrize(
    "name, value", [("dropout", -3), ("dropout", 1.5), ("loss_weight", math.nan), ("max_tokens", 0)]
)
def test_what_cannot_be_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"text.{name} is {value}; it must"):
        TextConfig(**{name: value})
