"""The plain lane, which every other exact lane is held to: one forward pass of the network for every token.

Guidance (Ho and Salimans, 2022, arXiv 2207.12598) runs the rows with and without prompt as one batch.
"""

import logging
from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence
from videogpt.layouts.task import Example, Task
from videogpt.model.cache import KVCache
from videogpt.model.network import VideoGPT
from videogpt.sampling.draw import Draw
from videogpt.sampling.lanes.lane import Lane

# B samples, R rows of the network's batch (2B under guidance, those with prompts first), M tokens to draw, V ids,
# D width

logger = logging.getLogger(__name__)


class EagerLane(Lane):
    """Draws one token of every sample at each step."""

    name = "eager"

    def __init__(
        self, network: VideoGPT, task: Task, examples: Sequence[Example], latent_frames: int, draw: Draw
    ) -> None:
        self.network, self.task, self.draw = network, task, draw
        self.device = network.embedding.weight.device
        rows = [*examples, *(example.without_text() for example in examples if draw.guided)]
        self.rows, self.copies = len(rows), len(rows) // len(examples)
        first_of = list(range(self.rows))
        if shares_prompts(self.device):
            given = [(row.text, None if row.codes_THW is None else row.codes_THW.tolist()) for row in rows]
            first_of = [given.index(row) for row in given]
        different = sorted(set(first_of))
        self.prompt = task.prompt([rows[first] for first in different], latent_frames)
        self._prompt_of = [different.index(first) for first in first_of] if len(different) < self.rows else None
        self._visibility = task.prompt(rows, latent_frames).given.visibility.to(self.device)
        self._positions_1M3 = self.prompt.positions_1M3.to(self.device)
        self._tokens_MB: list[Tensor] = []
        self._logits_RV: Tensor | None = None
        self.passes = 0

    @property
    def drawn(self) -> int:
        return len(self._tokens_MB)

    def start(self) -> None:
        given = self.prompt.given.to(self.device)
        self.cache = KVCache(
            self.network.config,
            prompts=given.ids_BN.shape[0],
            prompt_rows=given.ids_BN.shape[1],
            rows=max(len(self.prompt.places) - 1, 1),  # nothing follows the last token
            batch=self.rows,
            dtype=self.network.embedding.weight.dtype,
            device=self.device,
        )
        logger.info("the cache of %d sequences takes %.1f MiB", self.rows, self.cache.memory_bytes / 2**20)
        self._logits_RV = self._read(given, slice(-1, None))[:, 0]
        if self._prompt_of is not None:
            self.cache.fork(self._prompt_of)
            self._logits_RV = self._logits_RV[self._prompt_of]

    def step(self) -> None:
        logits_RV = self._read(self._last_token())[:, 0] if self._logits_RV is None else self._logits_RV
        place = self.prompt.places[self.drawn]
        self._tokens_MB.append(self.draw(logits_RV[:, None], [[place]] * (self.rows // self.copies))[:, 0])
        self._logits_RV = None
        if self.draw.noise is not None:
            self.draw.noise.done(place)

    def tokens(self, numbers: Sequence[int]) -> Tensor:
        return torch.stack([self._tokens_MB[number] for number in numbers], dim=1)

    def _last_token(self) -> TokenSequence:
        """The token drawn last, in every row of the network's batch: with and without prompt it is the same."""
        tokens_B = self._tokens_MB[-1]
        tokens_R1 = repeat(tokens_B, "b -> (copies b) 1", copies=self.copies)
        return TokenSequence(
            ids_BN=self.task.vocabulary.ids[self.prompt.modality].start + tokens_R1,
            positions_BN3=self._positions_1M3[:, self.drawn - 1 : self.drawn],
            visibility=self._visibility,
        )

    def _read(self, sequence: TokenSequence, rows: slice = slice(None)) -> Tensor:
        """Float32 logits (R, M, V) of what follows each row, or some of them."""
        self.passes += 1
        hidden_RMD = self.network.hidden(sequence, self.cache)
        return self.network.logits(hidden_RMD[:, rows], self.task.vocabulary.ids[self.prompt.modality]).float()


def shares_prompts(device: torch.device) -> bool:
    """Whether samples of a prompt read it from one place. A CPU reads what lies in one piece sooner."""
    return device.type != "cpu"
