"""Size and shape of the decoder. Refuses sizes that do not divide, or that no memory holds."""

import math
from dataclasses import dataclass

from videogpt_tokenizer.checks import check_whole


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
    dropout: float = 0.0
    """Share of channels dropped in training, of the embedding and of what each layer adds."""

    def __post_init__(self) -> None:
        for key, most in (("width", 2**20), ("depth", 2**10), ("heads", 2**12), ("kv_heads", 2**12)):
            check_whole(key, getattr(self, key), 1, most)
        check_whole("vocab_size", self.vocab_size, 0, 2**32)
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
    def mlp_width(self) -> int:
        """Hidden channels of the feed-forward part."""
        return math.ceil(self.mlp_ratio * self.width / 32) * 32
