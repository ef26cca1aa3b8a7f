"""Residual quantizers: every stage quantizes what the stages before it left over, so one model has several rates.

In training, a number of stages is drawn for a share of the clips and the later ones are left out of them (SoundStream,
arXiv 2107.03312, draws for every clip; descript-audio-codec, arXiv 2306.06546, for half of them, which keeps the full
rate as good as without). `coarser` codes then decode to what they are worth.

The residual quantizers of vector-quantize-pytorch are not used: they draw for a batch as a whole, and send the gradient
through every stage, so that it arrives as many times as there are stages. Codes in evaluation are theirs, and without
dropout so are the codebooks that training makes; tests hold that.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from videogpt_tokenizer.quantizers.base import Quantizer
from videogpt_tokenizer.quantizers.finite_scalar import strides_of
from videogpt_tokenizer.quantizers.learned import learned_codebook, nearest_rows, train_codebook

# B clips, N vectors in each, D width of a vector, V codes of a stage, S stages


class _ResidualQuantizer(Quantizer):
    """Stages in a row. Subclasses say how one quantizes its share."""

    commitment = 0.0
    """Weight of the mean squared distance from what reaches a stage to what it becomes there."""

    def __init__(self, stage_sizes: tuple[int, ...], dim: int, dropout: float) -> None:
        super().__init__()
        self.stage_sizes, self.dim, self.dropout = stage_sizes, dim, dropout

    @abstractmethod
    def quantize_stage(self, stage: int, rows_BND: Tensor) -> tuple[Tensor, Tensor]:
        """What reaches a stage -> what it becomes, (B, N, D), and the stage's own codes, (B, N); no gradients."""

    @abstractmethod
    def lookup_stage(self, stage: int, digits_N: Tensor) -> Tensor:
        """Codes of a stage -> vectors (N, D)."""

    def bounded(self, rows_BND: Tensor) -> Tensor:
        """Rows within what the stages together can reach."""
        return rows_BND

    def freeze(self) -> None:
        super().freeze()
        self.training = True  # codebooks stay, and stages are left out of clips as before

    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows_BND = self.bounded(rows_BND)
        rest_BND, sum_BND, loss = rows_BND, torch.zeros_like(rows_BND), rows_BND.new_zeros(())
        codes_BN = torch.zeros(rows_BND.shape[:2], dtype=torch.long, device=rows_BND.device)
        for stage, kept_B in enumerate(self._draw(rows_BND)):
            values_BND, digits_BN = self.quantize_stage(stage, rest_BND.detach())
            # Codebooks learn from all clips; what was left out of a clip takes no part in anything else.
            sum_BND = sum_BND + torch.where(kept_B[:, None, None], values_BND, 0)
            codes_BN += torch.where(kept_B[:, None], self.place(stage, digits_BN), 0)
            rest_BND = rest_BND - values_BND
            loss = loss + self.commitment * (kept_B[:, None, None] * rest_BND.square()).mean()
        if self.training:
            sum_BND = rows_BND + (sum_BND - rows_BND).detach()
        return sum_BND, codes_BN, loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        sum_ND = torch.zeros(len(codes_N), self.dim, dtype=torch.float32, device=codes_N.device)
        for stage in range(self.stages):
            digits_N = self.digit(codes_N, stage)
            values_ND = self.lookup_stage(stage, digits_N.clamp(min=0))
            sum_ND = sum_ND + torch.where(digits_N[:, None] >= 0, values_ND, 0)
        return sum_ND

    def _draw(self, rows_BND: Tensor) -> Tensor:
        """Which stages each clip goes through, (S, B)."""
        clips, device = len(rows_BND), rows_BND.device
        stages_S1 = torch.arange(self.stages, device=device)[:, None]
        if not self.training:
            return stages_S1.expand(-1, clips) >= 0
        number_B = torch.randint(1, self.stages + 1, (clips,), device=device)
        return (stages_S1 < number_B) | (torch.rand(clips, device=device) >= self.dropout)


class ResidualVectorQuantizer(_ResidualQuantizer):
    """A learned codebook in every stage, each as that of vq."""

    commitment = 0.25

    def __init__(self, stages: int, codebook_size: int, codebook_dim: int, dropout: float) -> None:
        super().__init__((codebook_size,) * stages, codebook_dim, dropout)
        self.codebooks = nn.ModuleList(learned_codebook(codebook_size, codebook_dim, 0.0) for _ in range(stages))

    def quantize_stage(self, stage: int, rows_BND: Tensor) -> tuple[Tensor, Tensor]:
        if self.codebooks[stage].training:
            return train_codebook(self.codebooks[stage], rows_BND)[:2]
        table_VD = self._table(stage)
        digits_BN = nearest_rows(rows_BND, table_VD)
        return table_VD[digits_BN], digits_BN

    def lookup_stage(self, stage: int, digits_N: Tensor) -> Tensor:
        return self._table(stage)[digits_N]

    def reduced(self) -> tuple[str, dict[str, Tensor]]:
        return "tables", {"tables_SVK": self.tables()}

    def tables(self) -> Tensor:
        """Float32 (S, V, D), a table for every stage."""
        return torch.stack([self._table(stage) for stage in range(self.stages)])

    def _table(self, stage: int) -> Tensor:
        table_VD = self.codebooks[stage].codebook
        assert isinstance(table_VD, Tensor)
        return table_VD


class ResidualFiniteScalarQuantizer(_ResidualQuantizer):
    """Every channel in steps, and every stage in steps of the step before: of (5, 3), the first stage has fifths and
    thirds of the range, the second 25ths and 9ths.

    As in vector-quantize-pytorch's `ResidualFSQ`: rounded to -1, ..., 1, where `FiniteScalarQuantizer` has no -1 for an
    even number of levels, so that what is left over spans the same share of a step on both sides.
    """

    levels_D: Tensor
    strides_D: Tensor
    reach_D: Tensor
    scales_SD: Tensor

    def __init__(self, stages: int, levels: tuple[int, ...], dropout: float) -> None:
        super().__init__((math.prod(levels),) * stages, len(levels), dropout)
        levels_D = torch.tensor(levels)
        self.register_buffer("levels_D", levels_D, persistent=False)
        self.register_buffer("strides_D", strides_of(levels), persistent=False)
        self.register_buffer("reach_D", 1 + 1 / (levels_D - 1), persistent=False)
        scales_SD = torch.stack([levels_D.float() ** -stage for stage in range(stages)])
        self.register_buffer("scales_SD", scales_SD, persistent=False)

    def bounded(self, rows_BND: Tensor) -> Tensor:
        return (rows_BND / self.reach_D).tanh() * self.reach_D

    def quantize_stage(self, stage: int, rows_BND: Tensor) -> tuple[Tensor, Tensor]:
        inside_BND = (rows_BND / self.scales_SD[stage]).clamp(-1, 1)
        steps_BND = ((self.levels_D - 1) * (inside_BND + 1) / 2 + 0.5).floor()
        return self._value(stage, steps_BND), (steps_BND.long() * self.strides_D).sum(dim=-1)

    def lookup_stage(self, stage: int, digits_N: Tensor) -> Tensor:
        return self._value(stage, digits_N[:, None] // self.strides_D % self.levels_D)

    def _value(self, stage: int, steps: Tensor) -> Tensor:
        return (2 / (self.levels_D - 1).float() * steps - 1) * self.scales_SD[stage]
