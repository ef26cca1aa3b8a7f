"""The quantizers besides finite scalars, for `standalone`: stages of tables, of signs and of scalars.

An export appends what stands below the imports to its copy of `standalone`, if the tokenizer has one of these; so the
loader is still one file that needs only torch. Each quantizer says itself which of these it becomes: `reduced`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

# S stages of the quantizer, V codes of a stage


class _Stages(nn.Module):
    """Latents (..., K) <-> codes in stages, each for what those before it left over.

    Stage 0 is the lowest digit of a code. In the digits of later stages 0 says that the stage is absent, so the codes
    of the first n stages alone are `codes % (size * (size + 1) ** (n - 1))`.
    """

    def __init__(self, stages: int, size: int, dim: int) -> None:
        super().__init__()
        if any(type(number) is not int or not 1 <= number <= 2**24 for number in (stages, size, dim)):
            raise ValueError(f"config.json: {stages} stages of {size} codes of {dim} channels cannot be: copy it again")
        self.sizes = [size + int(stage > 0) for stage in range(stages)]
        self.codebook_size, self.dim = math.prod(self.sizes), dim

    def encode(self, latents: Tensor) -> Tensor:
        codes, rest, place = torch.zeros_like(latents[..., 0], dtype=torch.long), self.bounded(latents), 1
        for stage, size in enumerate(self.sizes):
            digits = self.nearest(rest, stage)
            codes, rest = codes + (digits + int(stage > 0)) * place, rest - self.vectors(digits, stage)
            place *= size
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        latents, place = torch.zeros(self.dim, dtype=torch.float32, device=codes.device), 1
        for stage, size in enumerate(self.sizes):
            digits = codes // place % size - int(stage > 0)
            latents = latents + torch.where(digits[..., None] < 0, 0, self.vectors(digits.clamp(min=0), stage))
            place *= size
        return latents

    def bounded(self, latents: Tensor) -> Tensor:
        """Latents within what the stages together can reach."""
        return latents

    def nearest(self, rest: Tensor, stage: int) -> Tensor:
        """Codes of one stage."""
        raise NotImplementedError

    def vectors(self, digits: Tensor, stage: int) -> Tensor:
        """What codes of one stage stand for."""
        raise NotImplementedError


class _Tables(_Stages):
    """In every stage the nearest row of a table: learned codebooks."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config["stages"], config["codebook_size"], config["codebook_dim"])
        self.tables_SVK = nn.Buffer(torch.zeros(len(self.sizes), config["codebook_size"], self.dim))

    def nearest(self, rest: Tensor, stage: int) -> Tensor:
        table_VK = self.tables_SVK[stage]
        return (rest @ table_VK.T - table_VK.square().sum(dim=1) / 2).argmax(dim=-1)

    def vectors(self, digits: Tensor, stage: int) -> Tensor:
        return self.tables_SVK[stage][digits]


class _Signs(_Stages):
    """One stage, the sign of every channel a bit of the code, the first channel's the highest."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(1, config["codebook_size"], config["codebook_size"].bit_length() - 1)
        self.bits_K = nn.Buffer(2 ** torch.arange(self.dim - 1, -1, -1), persistent=False)
        self.length = nn.Buffer(torch.tensor(1.0))  # what every channel is worth, up to its sign

    def nearest(self, rest: Tensor, stage: int) -> Tensor:
        return ((rest > 0) * self.bits_K).sum(dim=-1)

    def vectors(self, digits: Tensor, stage: int) -> Tensor:
        return torch.where(digits[..., None] // self.bits_K % 2 == 1, self.length, -self.length)


class _Scalars(_Stages):
    """In every stage each channel rounded to levels from -1 to 1, of a step of the stage before."""

    def __init__(self, config: dict[str, Any]) -> None:
        levels = config["levels"]
        super().__init__(config["stages"], math.prod(levels), len(levels))
        levels_K, worths_K = torch.tensor([levels, [math.prod(levels[:index]) for index in range(len(levels))]])
        self.levels_2K = nn.Buffer(torch.stack([levels_K, worths_K]), persistent=False)
        self.reach_K = nn.Buffer(1 + 1 / (levels_K - 1).float(), persistent=False)
        scales = [levels_K.float() ** -stage for stage in range(len(self.sizes))]
        self.scales_SK = nn.Buffer(torch.stack(scales), persistent=False)

    def bounded(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / self.reach_K) * self.reach_K

    def nearest(self, rest: Tensor, stage: int) -> Tensor:
        levels_K, worths_K = self.levels_2K
        inside = (rest / self.scales_SK[stage]).clamp(-1, 1)
        steps = ((levels_K - 1) * (inside + 1) / 2 + 0.5).floor().long()
        return (steps * worths_K).sum(dim=-1)

    def vectors(self, digits: Tensor, stage: int) -> Tensor:
        levels_K, worths_K = self.levels_2K
        return (2 / (levels_K - 1).float() * (digits[..., None] // worths_K % levels_K) - 1) * self.scales_SK[stage]


STAGED_QUANTIZERS = {"tables": _Tables, "signs": _Signs, "rfsq": _Scalars}
