"""The key/value cache: views of what was written, nothing beyond the capacity."""

import pytest
import torch

from videogpt.cache import KVCache
from videogpt.model import VideoGPTConfig

CONFIG = VideoGPTConfig(vocab_size=8, width=32, depth=2, heads=4, kv_heads=2)


def rows(count: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, CONFIG.kv_heads, count, CONFIG.head_dim)


def test_written_rows_come_back_in_order() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6)
    keys, values = rows(6), rows(6)
    cache.write(1, keys[:, :, :4], values[:, :, :4])
    cache.advance(4)
    held = cache.write(1, keys[:, :, 4:], values[:, :, 4:])
    assert torch.equal(held.keys_BGND, keys) and torch.equal(held.values_BGND, values)
    assert held.keys_BGND.data_ptr() == cache.keys_LBGCD[1].data_ptr()


def test_layers_write_the_same_rows_until_the_cache_advances() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6)
    for layer in range(CONFIG.depth):
        assert cache.write(layer, rows(2), rows(2)).keys_BGND.shape[2] == 2
    assert cache.length == 0
    cache.advance(2)
    assert cache.length == 2


def test_reset_starts_again_in_the_same_memory() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6)
    memory = cache.write(0, rows(6), rows(6)).keys_BGND.data_ptr()
    cache.advance(6)
    cache.reset()
    again = rows(1)
    held = cache.write(0, again, again)
    assert torch.equal(held.keys_BGND, again) and held.keys_BGND.data_ptr() == memory


def test_memory_is_that_of_the_buffers() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6, dtype=torch.bfloat16)
    assert cache.memory_bytes == 2 * CONFIG.depth * 3 * CONFIG.kv_heads * 6 * CONFIG.head_dim * 2
    assert cache.capacity == 6


def test_rows_beyond_the_capacity_are_refused_before_anything_is_written() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6)
    cache.advance(5)
    with pytest.raises(ValueError, match="7 rows exceed the cache's capacity 6"):
        cache.write(0, rows(2), rows(2))
    assert cache.length == 5 and not cache.keys_LBGCD.any()


def test_another_batch_size_is_refused() -> None:
    cache = KVCache.for_model(CONFIG, batch=3, capacity=6)
    with pytest.raises(ValueError, match="1 sequences for a cache of batch 3"):
        cache.write(0, rows(2, batch=1), rows(2, batch=1))
    with pytest.raises(ValueError, match="capacity 0"):
        KVCache.for_model(CONFIG, batch=3, capacity=0)
