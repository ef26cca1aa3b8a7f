"""Sizes of a layout that are absurd are refused."""

import pytest

from videogpt.layouts.config import LayoutConfig, LayoutRules

SIZES = {"text_vocab_size": 1, "codebook_size": 1, "latent_frames": 1, "latent_height": 1, "latent_width": 1}


def test_sizes_below_the_least_are_refused() -> None:
    with pytest.raises(ValueError, match="max_text_tokens is 1; it must be 2 or more"):
        LayoutConfig(**SIZES, max_text_tokens=1)
    with pytest.raises(ValueError, match="window_frames is 0; it must be 1 or more"):
        LayoutRules(window_frames=0)


def test_rules_come_as_json_has_them() -> None:
    rules: dict = {"bidirectional_prefix": True, "bidirectional_frames": False, "window_frames": 3}
    assert LayoutConfig(**SIZES, rules=rules).rules == LayoutRules(bidirectional_prefix=True, window_frames=3)  # type: ignore[arg-type]
