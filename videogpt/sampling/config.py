"""How to draw codes: temperature, filters and guidance, under the names that transformers gave them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Settings of one sampling run, the same for all its samples. Seeds are none: they belong to each sample.

    Where the model predicts codes by level (`model.head`), "code" below is a digit of a code: temperature, filters and
    guidance act on each among its own few values, so the same top_p leaves out more of what is unlikely as a whole.
    """

    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 more varied, 0 always takes the most likely code."""
    top_k: int | None = None
    """Draw from this many most likely codes only; none: from all."""
    top_p: float | None = None
    """Draw from the fewest codes whose probabilities add up to this, above 0 and up to 1; none: from all."""
    min_p: float | None = None
    """Draw from codes at least this many times (0 to 1) as likely as the most likely one; none: from all."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: how far to go from the logits without the prompt to those with it. 1 is the
    model as it is, above 1 follows the prompt more closely at twice the work, 0 ignores the prompt."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; it must be 0 or more, for example 0.9")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be 1 or more, or none to draw from all codes")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1, for example 0.95")
        if self.min_p is not None and not 0.0 <= self.min_p <= 1.0:
            raise ValueError(f"min_p is {self.min_p}; it must be from 0 to 1, for example 0.05")
        if not 0.0 <= self.guidance_scale < float("inf"):
            raise ValueError(f"guidance_scale is {self.guidance_scale}; it must be 0 or more, for example 3")
