"""The Jacobi lane: a window of places in one pass, and the codes of the eager lane for a seed.

As the noise of a place is fixed, a draw is a function of the codes before it. The lane guesses the codes of a window,
draws all its places in one pass, and keeps those up to and with the first whose guess was wrong: one at least. What
was drawn behind it is the next guess. This is a fixed point iteration (Wiggers and Hoogeboom, "Predictive Sampling
with Forecasting Autoregressive Models", 2020, arXiv 2002.09928); whoever guesses, the codes are the same.

Exact where arithmetic is: rows of a window and single rows round differently. In float32 that may turn a code where two
are next to equal, in bfloat16 far more; `benchmarks/lanes.py` counts the clips that differ.
Every sample keeps its own number of codes.
"""

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from videogpt.layouts.guesses import guess_of
from videogpt.layouts.task import TO_DRAW, Example, Task
from videogpt.model.network import VideoGPT
from videogpt.sampling.draw import Draw
from videogpt.sampling.engines.engine import Engine
from videogpt.sampling.lanes.eager import EagerLane

# B samples, R rows of the network's batch (2B under guidance, those with prompts first), M places of a window,
# X what a draw is made from: ids, or width for a head by level

NARROW = 4
"""Places of a window that is tried again, and the least that the widest has."""
LONGEST_RUN = 256
"""Forced tokens that one pass takes at most."""
RETRY = 16
"""Windows of one place after which a wider one is tried again."""


class JacobiLane(EagerLane):
    """Draws one token or more of every sample at each step."""

    name = "jacobi"

    def __init__(
        self,
        network: VideoGPT,
        task: Task,
        examples: Sequence[Example],
        latent_frames: int,
        draw: Draw,
        engine: Engine,
        window: int | None = None,
    ) -> None:
        """`window` is the number of places of a pass; None: as many as pay, by how many of the last ones were kept."""
        super().__init__(network, task, examples, latent_frames, draw, engine)
        if window is not None and window < 1:
            raise ValueError(f"window is {window}; it must be 1 or more, for example 16")
        self._widest = max(self.engine.paying_window(self.rows), NARROW)
        self._window, self._kept, self._narrow = window, self._widest / 4, 0
        self._tokens: list[list[int]] = [[] for _ in examples]
        """Of each sample: those that it has, then guesses."""
        self._known = [0] * len(examples)
        self._forced = None if self._forced_BM is None else self._forced_BM.tolist()

    @property
    def drawn(self) -> int:
        return min(self._known)

    def tokens(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor([[own[number] for number in numbers] for own in self._tokens], device=self.device)

    def step(self) -> None:
        before = self.drawn
        if self._found_RX is not None:
            self._tokens = self._drawn(self._found_RX[:, None], [[0]] * len(self._tokens)).tolist()
            self._known = [1] * len(self._tokens)
            self._found_RX = None
        else:
            self._advance()
        if self.draw.noise is not None:
            for place in self.prompt.places[before : self.drawn]:
                self.draw.noise.done(place)

    def _advance(self) -> None:
        total = len(self.prompt.places)
        rows = min(max(self._window or self._paying(), self._forced_run()), total - self.drawn)
        # A sample near its end reads some of its codes again, as all windows are of one width.
        starts_B = [min(known - 1, total - 1 - rows) for known in self._known]
        for sample, start in enumerate(starts_B):
            self._guess_up_to(sample, start + rows)
        found_RMX = self._read_windows(starts_B, rows)
        drawn_BM = self._drawn(found_RMX, [range(start + 1, start + rows + 1) for start in starts_B]).tolist()
        unfinished = [known for known in self._known if known < total]
        before = sum(self._known)
        for sample, (start, drawn) in enumerate(zip(starts_B, drawn_BM, strict=True)):
            self._keep(sample, start + 1, drawn)
        self._kept += ((sum(self._known) - before) / len(unfinished) - self._kept) / 4

    def _keep(self, sample: int, first: int, drawn: list[int]) -> None:
        """Take what was drawn for the tokens from number `first` on, up to the first that was guessed wrongly."""
        tokens, known, end = self._tokens[sample], self._known[sample], first + len(drawn)
        right = True
        while right and known < end:
            right = known < len(tokens) and tokens[known] == drawn[known - first]
            known += 1
        tokens[self._known[sample] :] = drawn[self._known[sample] - first :]
        self._known[sample] = known

    def _guess_up_to(self, sample: int, stop: int) -> None:
        """Give a sample a guess for each token up to a number; of one that is forced it is right."""
        tokens = self._tokens[sample]
        for number in range(len(tokens), stop):
            forced = TO_DRAW if self._forced is None else self._forced[sample][number]
            tokens.append(self._guess(tokens, number) if forced == TO_DRAW else forced)

    def _forced_run(self) -> int:
        """Tokens that follow those that are known and are forced in every sample: one pass takes so many of them."""
        if self._forced is None:
            return 0
        runs = (
            takewhile(lambda token: token != TO_DRAW, forced[known : known + LONGEST_RUN])
            for forced, known in zip(self._forced, self._known, strict=True)
        )
        return min(sum(1 for _ in run) for run in runs)

    def _guess(self, tokens: list[int], number: int) -> int:
        """The code at the same place of the latent frame before, or the last one."""
        return tokens[guess_of(number, self.prompt.places, self.task.raster)]

    def _read_windows(self, starts_B: list[int], rows: int) -> Tensor:
        """Logits behind the tokens from `starts_B` on, in every row of the network's batch."""
        tokens_BM = [tokens[start : start + rows] for tokens, start in zip(self._tokens, starts_B, strict=True)]
        tokens_RM = torch.tensor(tokens_BM * self.copies, device=self.device)
        starts_R = starts_B * self.copies
        numbers_RM = torch.tensor(starts_R, device=self.device)[:, None] + torch.arange(rows, device=self.device)
        return self._read(tokens_RM, self._positions_1M3[0, numbers_RM], starts_R)

    def _paying(self) -> int:
        """The widest where windows bring several places; where they bring one each, a wider try now and then."""
        width = self._widest if self._kept > 2 else NARROW if self._kept > 1.25 else 1
        self._narrow = self._narrow + 1 if width == 1 else 0
        return NARROW if self._narrow % RETRY == RETRY - 1 else width
