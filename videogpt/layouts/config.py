"""Sizes and rules of a layout: what a model's `config.json` keeps of it.

Refuses sizes below the least or above any use, before memory is taken for them.
"""

from dataclasses import asdict, dataclass
from typing import Any

from videogpt_tokenizer.checks import check_whole

PREFIX_CODES = ("given",)
"""What codes before the clip can stand for. Given ones are codes of the clip itself, at their places."""


@dataclass(frozen=True, kw_only=True)
class LayoutRules:
    """Who sees whom. By default prefix and body are causal, and the body sees the whole prefix."""

    bidirectional_prefix: bool = False
    """Rows of the prefix see all of it. Text rows then predict nothing: each would see what it is to predict."""
    bidirectional_frames: bool = False
    """Rows of the body see their whole latent frame. For tasks that predict a frame's codes from the frame before."""
    window_frames: int | None = None
    """Latent frames that rows of the body see: their own and those just before it; none: all."""

    def __post_init__(self) -> None:
        if self.window_frames is not None:
            check_whole("window_frames", self.window_frames, 1, 2**20)


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Sizes of the joint vocabulary and of the clips."""

    text_vocab_size: int
    """Ids of the text tokenizer."""
    codebook_size: int
    """Codes of the video tokenizer."""
    max_text_tokens: int = 64
    """Most rows of a caption, counting BOS and EOT; longer captions are cut."""
    latent_frames: int
    """Latent frames of the longest clip."""
    latent_height: int
    """Codes from top to bottom of a latent frame."""
    latent_width: int
    """Codes from left to right of a latent frame."""
    rules: LayoutRules = LayoutRules()
    """Who sees whom."""
    prefix_codes: tuple[str, ...] = ()
    """What codes can stand for before the clip, in the order of their ids; of `PREFIX_CODES`."""

    def __post_init__(self) -> None:
        check_whole("text_vocab_size", self.text_vocab_size, 1, 2**24)
        check_whole("codebook_size", self.codebook_size, 1, 2**31)
        check_whole("max_text_tokens", self.max_text_tokens, 2, 2**20)
        check_whole("latent_frames", self.latent_frames, 1, 2**20)
        check_whole("latent_height", self.latent_height, 1, 2**12)
        check_whole("latent_width", self.latent_width, 1, 2**12)
        if isinstance(self.rules, dict):  # as JSON has it
            object.__setattr__(self, "rules", LayoutRules(**self.rules))
        object.__setattr__(self, "prefix_codes", tuple(self.prefix_codes))
        unknown = [kind for kind in self.prefix_codes if kind not in PREFIX_CODES]
        if unknown or len(set(self.prefix_codes)) < len(self.prefix_codes):
            raise ValueError(
                f"prefix_codes is {list(self.prefix_codes)}: choose of {', '.join(PREFIX_CODES)}, each once"
            )

    @property
    def caption_tokens(self) -> int:
        """Most tokens of a caption, without BOS and EOT."""
        return self.max_text_tokens - 2

    def settings(self) -> dict[str, Any]:
        """What tells this layout from others. What is at its default does not: older models were saved without."""
        settings = asdict(self)
        if self.rules == LayoutRules():
            del settings["rules"]
        if not self.prefix_codes:
            del settings["prefix_codes"]
        return settings
