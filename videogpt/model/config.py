"""Size and shape of the decoder. Refuses sizes that do not divide, or that no memory holds."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from videogpt_tokenizer.checks import check_whole

MOST_VALUES = 2**16
"""Of a digit: each is a column of small matrices."""


@dataclass(frozen=True, kw_only=True)
class VideoGPTConfig:
    """Size and shape of the decoder."""

    vocab_size: int = 0
    """Ids of the joint vocabulary, `Vocabulary.size`. 0: not known yet; training takes it from its data."""
    width: int = 256
    """Channels of the residual stream."""
    depth: int = 6
    """Layers."""
    heads: int = 4
    """Query heads; each has width / heads channels."""
    kv_heads: int = 2
    """Heads of keys and values, each shared by heads / kv_heads query heads."""
    mlp_ratio: float = 8 / 3
    """Hidden channels of the feed-forward part over the width; rounded up to a multiple of 32 channels."""
    rope_base: float = 100.0
    """Speed of the fastest rotary pair over that of the slowest; of the order of the longest distance."""
    tie_head: bool = False
    """Predict with the matrix that embeds, instead of one more."""
    head: Literal["flat", "levels"] = "flat"
    """How codes are predicted. flat: one softmax over all; levels: digit by digit, each from those before it, which
    takes far fewer weights where there are many codes."""
    embedding: Literal["table", "levels"] = "table"
    """How codes are embedded. table: a vector for each; levels: the sum of vectors of its digits."""
    code_levels: tuple[int, ...] = ()
    """Values of each digit of a code, the lowest first, for `levels` alone. Empty: training takes the levels of a
    finite scalar quantizer, the stages of a residual one, bits by three, and two factors of any other size."""
    code_start: int = 0
    """The id of code 0, for `levels` alone; training knows it."""
    dropout: float = 0.0
    """Share of channels dropped in training, of the embedding and of what each layer adds."""

    def __post_init__(self) -> None:
        for key, most in (("width", 2**20), ("depth", 2**10), ("heads", 2**12), ("kv_heads", 2**12)):
            check_whole(key, getattr(self, key), 1, most)
        check_whole("vocab_size", self.vocab_size, 0, 2**32)
        object.__setattr__(self, "code_levels", tuple(self.code_levels))
        for key, kinds in (("head", ("flat", "levels")), ("embedding", ("table", "levels"))):
            if getattr(self, key) not in kinds:
                raise ValueError(f"{key} is {getattr(self, key)!r}; choose {' or '.join(kinds)}")
        for values in self.code_levels:
            check_whole("code_levels", values, 2, MOST_VALUES)
        check_whole("product of code_levels", math.prod(self.code_levels), 1, 2**31)
        check_whole("code_start", self.code_start, 0, 2**32)
        if self.vocab_size and self.by_levels and self.code_ids.stop > self.vocab_size:
            raise ValueError(
                f"codes from id {self.code_start} on, of levels {self.code_levels}, exceed vocab_size "
                f"{self.vocab_size}: take all three from one model"
            )
        if self.tie_head and self.head == "flat" and self.embedding == "levels":
            raise ValueError("tie_head needs a vector for each code: set embedding to table, or head to levels")
        if not 0 < self.mlp_ratio <= 1000:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}; it must be above 0 and 1000 at most")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}: change either")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is no multiple of kv_heads {self.kv_heads}: change either")
        if self.head_dim < 8 or self.head_dim % 2:
            raise ValueError(f"width / heads is {self.head_dim}; it must be even, 8 or more: change either")
        if self.rope_base <= 1:
            raise ValueError(f"rope_base is {self.rope_base}; it must be above 1, for example 100")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.width // self.heads

    @property
    def by_levels(self) -> bool:
        """Whether the network has to know the digits of codes."""
        return "levels" in (self.head, self.embedding)

    @property
    def code_ids(self) -> range:
        """Ids of the codes, where the network has to know."""
        return range(self.code_start, self.code_start + math.prod(self.code_levels))

    @property
    def mlp_width(self) -> int:
        """Hidden channels of the feed-forward part."""
        return math.ceil(self.mlp_ratio * self.width / 32) * 32

    def settings(self) -> dict[str, Any]:
        """What tells this network from others. How codes are read only where that is not as before: models of 0.1
        were saved without."""
        added = {"head", "embedding", "code_levels", "code_start"}
        defaults = {field.name: field.default for field in fields(self) if field.name in added}
        return {key: value for key, value in asdict(self).items() if defaults.get(key, ...) != value}
