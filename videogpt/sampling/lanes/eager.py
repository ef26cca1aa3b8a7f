"""The plain lane, which every other exact lane is held to: one forward pass of the network for every token.

Guidance (Ho and Salimans, 2022, arXiv 2207.12598) runs the rows with and without prompt as one batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from videogpt.layouts.task import TO_DRAW, Example, Task
from videogpt.model.network import VideoGPT
from videogpt.sampling.draw import Draw
from videogpt.sampling.engines.engine import Engine
from videogpt.sampling.lanes.lane import Lane

# B samples, R rows of the network's batch (2B under guidance, those with prompts first), M tokens to draw, V ids,
# D width, X what a draw is made from: ids, or width for a head by level


class EagerLane(Lane):
    """Draws one token of every sample at each step."""

    name = "eager"
    exact = True

    def __init__(
        self,
        network: VideoGPT,
        task: Task,
        examples: Sequence[Example],
        latent_frames: int,
        draw: Draw,
        engine: Engine,
    ) -> None:
        self.network, self.task, self.draw, self.engine = network, task, draw, engine
        self.device = network.embedding.weight.device
        rows = [*examples, *(example.without_text() for example in examples if draw.guided)]
        self.rows, self.copies = len(rows), len(rows) // len(examples)
        first_of = list(range(self.rows))
        if shares_prompts(self.device):
            given = [_plain(row) for row in rows]
            first_of = [given.index(row) for row in given]
        different = sorted(set(first_of))
        self.prompt = task.prompt([rows[first] for first in different], latent_frames)
        self._prompt_of = [different.index(first) for first in first_of] if len(different) < self.rows else None
        self._positions_1M3 = self.prompt.positions_1M3.to(self.device)
        forced_BM = self.prompt.forced_BM
        if forced_BM is not None:
            forced_BM = forced_BM[(self._prompt_of or first_of)[: len(examples)]]
        self._forced_BM = None if forced_BM is None else forced_BM.to(self.device)
        self._tokens_MB: list[Tensor] = []
        self._found_RX: Tensor | None = None
        self.passes = 0

    @property
    def drawn(self) -> int:
        return len(self._tokens_MB)

    def start(self) -> None:
        follow = len(self.prompt.places) - 1  # nothing follows the last token
        self._decoding = self.engine.start(self.prompt.given, follow, self._prompt_of)
        self._found_RX = self._found(self._decoding.hidden_RMD[:, -1:])[:, 0]
        if self._prompt_of is not None:
            self._found_RX = self._found_RX[self._prompt_of]

    def step(self) -> None:
        found_RX = self._after_the_last()[:, 0] if self._found_RX is None else self._found_RX
        number = self.drawn
        self._tokens_MB.append(self._drawn(found_RX[:, None], [[number]] * (self.rows // self.copies))[:, 0])
        self._found_RX = None
        if self.draw.noise is not None:
            self.draw.noise.done(self.prompt.places[number])

    def tokens(self, numbers: Sequence[int]) -> Tensor:
        return torch.stack([self._tokens_MB[number] for number in numbers], dim=1)

    def _after_the_last(self) -> Tensor:
        """Logits behind the token drawn last: with and without prompt it is the same."""
        tokens_R1 = repeat(self._tokens_MB[-1], "b -> (copies b) 1", copies=self.copies)
        last = self.drawn - 1
        return self._read(tokens_R1, self._positions_1M3[:, last : last + 1], [last] * self.rows)

    def _drawn(self, found_RMX: Tensor, numbers_BM: Sequence[Sequence[int]]) -> Tensor:
        """Tokens (B, M) by their number in the order of drawing: those that are forced, and draws."""
        tokens_BM = self.draw(found_RMX, [[self.prompt.places[number] for number in row] for row in numbers_BM])
        if self._forced_BM is None:
            return tokens_BM
        forced_BM = self._forced_BM.gather(1, torch.tensor(numbers_BM, device=self.device))
        return torch.where(forced_BM == TO_DRAW, tokens_BM, forced_BM)

    def _read(self, tokens_RM: Tensor, positions_RM3: Tensor, starts_R: Sequence[int]) -> Tensor:
        """What draws are made from behind each of these tokens, of which each sequence's first has its own number."""
        ids_RM = self.task.vocabulary.ids[self.prompt.modality].start + tokens_RM
        return self._found(self._decoding.step(ids_RM, positions_RM3, starts_R))

    def _found(self, hidden_RMD: Tensor) -> Tensor:
        """Float32 logits (R, M, V) from what a pass of the network has made; for a head by level the states alone."""
        self.passes += 1
        if self.draw.head is not None:
            return hidden_RMD
        return self.network.logits(hidden_RMD, self.task.vocabulary.ids[self.prompt.modality]).float()


def _plain(example: Example) -> tuple[Any, ...]:
    """What tells an example from others."""
    codes = None if example.codes_THW is None else example.codes_THW.tolist()
    return example.text, codes, {kind: codes_THW.tolist() for kind, codes_THW in example.prefix_codes.items()}


def shares_prompts(device: torch.device) -> bool:
    """Whether samples of a prompt read it from one place. A CPU reads what lies in one piece sooner."""
    return device.type != "cpu"
