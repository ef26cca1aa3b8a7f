"""Key/value cache: what the decoder keeps of the rows it has seen, in buffers of fixed size.

    cache = KVCache.for_model(model.config, batch=2, capacity=343)
    logits_BNV = model(prompt, cache)          # rows 0 .. N-1
    logits_BMV = model(next_rows, cache)       # sees those, and adds its own
    cache.reset()                              # the next video, in the same memory

The model writes, the sampler owns. Rows beyond the capacity are refused, never forgotten in silence.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from videogpt.model import VideoGPTConfig

# L layers, B sequences, G key/value heads, C capacity in rows, M new rows, N rows up to the last new one,
# D channels of a head


class KeysValues(NamedTuple):
    """Keys and values of one layer for all rows so far."""

    keys_BGND: Tensor
    values_BGND: Tensor


class KVCache:
    """Keys and values of rows 0 .. length-1 in every layer."""

    def __init__(self, keys_LBGCD: Tensor, values_LBGCD: Tensor) -> None:
        """Takes the two buffers as they are; see `for_model`."""
        self.keys_LBGCD = keys_LBGCD
        self.values_LBGCD = values_LBGCD
        self.length = 0
        """Rows held in every layer."""

    @classmethod
    def for_model(
        cls,
        config: "VideoGPTConfig",
        batch: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "KVCache":
        """An empty cache for `batch` sequences of up to `capacity` rows.

        Args:
            dtype: that of the model's weights.

        Raises:
            ValueError: a size below 1.
        """
        if batch < 1 or capacity < 1:
            raise ValueError(f"batch {batch} and capacity {capacity} make no cache: give 1 or more of each")
        shape = (config.depth, batch, config.kv_heads, capacity, config.head_dim)
        keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        return cls(keys, values)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return self.keys_LBGCD.shape[3]

    @property
    def memory_bytes(self) -> int:
        """Memory of the buffers, whether filled or not."""
        return self.keys_LBGCD.nbytes + self.values_LBGCD.nbytes

    def write(self, layer: int, keys_BGMD: Tensor, values_BGMD: Tensor) -> KeysValues:
        """Put the next rows of one layer behind those held; `advance` follows when all layers have theirs.

        Returns:
            Views of that layer's rows, the new ones last.

        Raises:
            ValueError: the rows do not fit, or are of another number of sequences.
        """
        batch, _, rows, _ = keys_BGMD.shape
        start, end = self.length, self.length + rows
        if end > self.capacity:
            raise ValueError(f"{end} rows exceed the cache's capacity {self.capacity}: make it larger")
        if batch != self.keys_LBGCD.shape[1]:
            raise ValueError(f"{batch} sequences for a cache of batch {self.keys_LBGCD.shape[1]}")
        keys_BGCD, values_BGCD = self.keys_LBGCD[layer], self.values_LBGCD[layer]
        keys_BGCD[:, :, start:end] = keys_BGMD
        values_BGCD[:, :, start:end] = values_BGMD
        return KeysValues(keys_BGCD[:, :, :end], values_BGCD[:, :, :end])

    def advance(self, rows: int) -> None:
        """Count rows that every layer has written as held."""
        assert 0 < rows <= self.capacity - self.length
        self.length += rows

    def reset(self) -> None:
        """Hold no rows; the memory stays."""
        self.length = 0
