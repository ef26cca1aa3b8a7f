"""Key/value cache: what a decoder keeps of the rows it has already seen, in buffers of a fixed size.

    cache = KVCache.for_model(model.config, batch=2, capacity=353)
    logits = model(prompt, cache)          # fills rows 0 .. M-1
    logits = model(next_rows, cache)       # sees those, and adds its own
    cache.reset()                          # the next clip uses the same memory

The model writes, the sampler owns. More rows than `capacity` are refused, not forgotten.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from videogpt.model import VideoGPTConfig

# L layers, B sequences, G key/value heads, C capacity in rows, M new rows, N rows up to the newest, D channels of a head


class KeysValues(NamedTuple):
    """Keys and values of one layer, of all rows up to the newest."""

    keys_BGND: Tensor
    values_BGND: Tensor


class KVCache:
    """Keys and values of every layer for rows 0 to `length - 1`."""

    def __init__(self, keys_LBGCD: Tensor, values_LBGCD: Tensor) -> None:
        self.keys_LBGCD = keys_LBGCD
        self.values_LBGCD = values_LBGCD
        self.length = 0
        """Rows held, of every layer."""

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
            dtype: that of the keys, which is the model's (or its autocast's).
        """
        if batch < 1 or capacity < 1:
            raise ValueError(f"a cache of batch {batch} and capacity {capacity} holds nothing: give at least 1 of each")
        shape = (config.depth, batch, config.kv_heads, capacity, config.head_dim)
        keys, values = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
        return cls(keys, values)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return self.keys_LBGCD.shape[3]

    @property
    def memory_bytes(self) -> int:
        """Memory of all buffers, used or not."""
        return self.keys_LBGCD.nbytes + self.values_LBGCD.nbytes

    def write(self, layer: int, keys_BGMD: Tensor, values_BGMD: Tensor) -> KeysValues:
        """Put a layer's next rows behind those held; `length` stays until `advance`, when all layers have written.

        Returns:
            Views of the layer's keys and values, the new rows last.

        Raises:
            ValueError: the rows do not fit, or are of another batch size than the cache.
        """
        start, stop = self.length, self.length + keys_BGMD.shape[2]
        if stop > self.capacity:
            raise ValueError(f"{stop} rows do not fit into a cache of capacity {self.capacity}: make it larger")
        if keys_BGMD.shape[0] != self.keys_LBGCD.shape[1]:
            raise ValueError(f"batch of {keys_BGMD.shape[0]} for a cache of batch {self.keys_LBGCD.shape[1]}")
        keys, values = self.keys_LBGCD[layer], self.values_LBGCD[layer]
        keys[:, :, start:stop] = keys_BGMD
        values[:, :, start:stop] = values_BGMD
        return KeysValues(keys[:, :, :stop], values[:, :, :stop])

    def advance(self, rows: int) -> None:
        """Count the rows that every layer has written as held."""
        assert 0 < rows <= self.capacity - self.length
        self.length += rows

    def reset(self) -> None:
        """Forget everything and keep the memory."""
        self.length = 0
