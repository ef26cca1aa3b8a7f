"""The plain engine, which every other one is held to: the network itself, in PyTorch, on its device and in its type."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.cache import KVCache
from videogpt.model.network import VideoGPT
from videogpt.sampling.engines.engine import MOST_IN_WINDOWS

# R sequences, M rows of a call, D width, 3 the axes (t, h, w)

logger = logging.getLogger(__name__)


class TorchEngine:
    """Runs a network as it is."""

    def __init__(self, network: VideoGPT, cache_dtype: torch.dtype | None = None) -> None:
        """`cache_dtype` is that of keys and values: the network's, or int8, which makes other codes."""
        self.network = network
        self.cache_dtype = network.embedding.weight.dtype if cache_dtype is None else cache_dtype
        self.name = "torch-int8-cache" if self.cache_dtype == torch.int8 else "torch"

    def at_work(self) -> AbstractContextManager[object]:
        """See `Engine.at_work`."""
        return nullcontext()

    def paying_window(self, sequences: int) -> int:
        """See `Engine.paying_window`. Sequences of unequal lengths are read key by key: many cannot pay that."""
        return 16 if sequences <= MOST_IN_WINDOWS else 1

    def start(self, given: TokenSequence, rows: int, sources: Sequence[int] | None = None) -> "TorchDecoding":
        """See `Engine.start`."""
        return TorchDecoding(self.network, self.cache_dtype, given, rows, sources)


class TorchDecoding:
    """Sequences in a cache; see `Decoding`."""

    def __init__(
        self,
        network: VideoGPT,
        cache_dtype: torch.dtype,
        given: TokenSequence,
        rows: int,
        sources: Sequence[int] | None,
    ) -> None:
        self.network, device = network, network.embedding.weight.device
        given = given.to(device)
        batch, given_rows = given.ids_BN.shape
        self.cache = KVCache(
            network.config,
            prompts=batch,
            prompt_rows=given_rows,
            rows=max(rows, 1),
            batch=batch if sources is None else len(sources),
            dtype=cache_dtype,
            device=device,
        )
        logger.info(
            "the cache of %d sequences takes %.1f MiB", self.cache.most_sequences, self.cache.memory_bytes / 2**20
        )
        self.visibility = given.visibility
        self.hidden_RMD = network.hidden(given, self.cache)
        if sources is not None:
            self.cache.fork(sources)
            self.visibility = given.visibility.of_sequences(sources)

    def step(self, ids_RM: Tensor, positions_RM3: Tensor, starts: Sequence[int]) -> Tensor:
        """See `Decoding.step`."""
        too_many = [
            held - self.cache.prompt_rows - start for held, start in zip(self.cache.lengths, starts, strict=True)
        ]
        if any(too_many):
            self.cache.rewind(too_many)
        rows = TokenSequence(ids_BN=ids_RM, positions_BN3=positions_RM3, visibility=self.visibility)
        return self.network.hidden(rows, self.cache)
