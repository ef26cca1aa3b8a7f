"""Logits and noise -> tokens. Noise belongs to a seed and a place, whatever is drawn before, beside or again.

    draw = Draw(SamplingConfig(top_p=0.9), seeds=[0, 1], codebook_size=1000, line=8, device=device)
    codes_BM = draw(logits_RMV, [[0], [0]])              # of one place of each sample

    draw = Draw(..., head=network.level_head)
    codes_BM = draw(hidden_RMD, [[0], [0]])              # of a head that predicts codes by level

The argmax of logits plus Gumbel noise is a draw from their softmax. As the noise of a place is fixed, lanes that
compute the same logits in another order draw the same tokens. Noise is made on the CPU, whatever the device.
By level every value of every digit has its noise, and a digit is drawn once those before it are: guided and filtered
among its own values.
"""

from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor

from videogpt.model.heads import LevelHead, codes_of
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.filters import filter_logits

# B samples, R rows of the network's batch (2B under guidance, those with prompts first), M places of each sample,
# V ids, L places of a line, D width, K levels, X ids, or width for a head by level

SEED_LIMIT = 2**32
"""Seeds are below this: the CPU's generator looks at no more than 32 bits of them."""


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Float32 Gumbel noise on the CPU, drawn in float64, where the tail is fine enough for any vocabulary."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return uniform.log_().neg_().log_().neg_().float()


class PlaceNoise:
    """Noise of every place of every sample; places may be asked for in any order, and again until they are done.

    A generator gives the noise of a whole line of places at once, since a step has no time for loops over samples.
    """

    def __init__(self, seeds: Sequence[int], codebook_size: int, line: int, device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape, self._device = (line, codebook_size), device
        self._lines_LBV: list[Tensor | None] = []
        self._left: list[int] = []

    def at(self, place: int) -> Tensor:
        """Noise (B, V) of one place."""
        line, column = divmod(place, self._shape[0])
        while len(self._lines_LBV) <= line:
            noise_BLV = [gumbel_noise(self._shape, generator) for generator in self._generators]
            self._lines_LBV.append(torch.stack(noise_BLV, dim=1).to(self._device))
            self._left.append(self._shape[0])
        noise_LBV = self._lines_LBV[line]
        assert noise_LBV is not None, f"place {place} was done"
        return noise_LBV[column]

    def of(self, places_BM: Sequence[Sequence[int]]) -> Tensor:
        """Noise (B, M, V) of places of each sample, which need not be those of the others."""
        return torch.stack([torch.stack([self.at(place)[b] for place in row]) for b, row in enumerate(places_BM)])

    def done(self, place: int) -> None:
        """The place will not be asked for again: a line all of whose places are done is forgotten."""
        line = place // self._shape[0]
        self._left[line] -= 1
        if not self._left[line]:
            self._lines_LBV[line] = None


class Draw:
    """Draws tokens of a batch of samples, each with its seed; `line` is the number of places in a line of the grid."""

    def __init__(
        self,
        config: SamplingConfig,
        seeds: Sequence[int],
        codebook_size: int,
        line: int,
        device: torch.device,
        head: LevelHead | None = None,
    ) -> None:
        self.config, self.head = config, head
        self.guided = config.guidance_scale != 1.0
        """Whether logits come twice: with what is given, then without its text."""
        numbers = codebook_size if head is None else sum(head.code_levels)
        self.noise = PlaceNoise(seeds, numbers, line, device) if config.temperature > 0.0 else None

    def __call__(self, found_RMX: Tensor, places_BM: Sequence[Sequence[int]]) -> Tensor:
        """Tokens (B, M), those of `places_BM`: draws, or the likeliest at temperature 0.

        Takes logits (R, M, V), or hidden states (R, M, D) where there is a head by level.
        """
        noise_BMV = None if self.noise is None else self.noise.of(places_BM)
        if self.head is None:
            return self._choose(found_RMX, noise_BMV)
        digits_RMK, first = torch.empty(*found_RMX.shape[:2], 0, dtype=torch.long, device=found_RMX.device), 0
        for values in self.head.code_levels:
            logits_RMV = self.head.logits(found_RMX, digits_RMK).float()
            digit_BM = self._choose(logits_RMV, None if noise_BMV is None else noise_BMV[..., first : first + values])
            digit_RM1 = repeat(digit_BM, "b m -> (copies b) m 1", copies=len(digits_RMK) // len(digit_BM))
            digits_RMK, first = torch.cat([digits_RMK, digit_RM1], dim=-1), first + values
        return codes_of(digits_RMK[: len(places_BM)], self.head.code_levels)

    def _choose(self, logits_RMV: Tensor, noise_BMV: Tensor | None) -> Tensor:
        """One of V for each place of each sample, (B, M)."""
        logits_BMV = logits_RMV
        if self.guided:
            prompted_BMV, free_BMV = logits_RMV.chunk(2)
            logits_BMV = torch.lerp(free_BMV, prompted_BMV, self.config.guidance_scale)
        logits_BMV = filter_logits(logits_BMV.flatten(0, 1), self.config).view(logits_BMV.shape)
        return (logits_BMV if noise_BMV is None else logits_BMV + noise_BMV).argmax(dim=-1)
