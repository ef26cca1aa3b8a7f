"""What all quantizers share: latent vectors -> integer codes -> the same latent vectors, behind one signature.

A `Quantizer` maps (B, T, H, W, D) latents to a `Quantized` triple, and `lookup` turns codes back into the very same
latents. All of it runs and stays in float32, whatever autocast, `half()` or the default type say: in bfloat16 about one
code in a hundred comes out different, and token streams would differ between machines.

A code is one int64 however many stages it tells of: stage 0 is its lowest digit, and in the digit of a later stage 0
says that the stage is absent, so that `coarser` codes are codes too. Residual quantizers have several stages, all
others one. Refuses numbers outside [0, codebook_size) and numbers of stages that there are not.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_codes

# B batch, T latent frames, D quantizer width, H/W latent grid, N vectors, S stages, V codes of a stage


class Quantized(NamedTuple):
    """What a quantizer returns, the same in training and in evaluation."""

    latents_BTHWD: Tensor
    """Quantized latents; gradients pass straight through to the input."""
    codes_BTHW: Tensor
    """int64 in [0, codebook_size)."""
    loss: Tensor
    """Scalar to add to the training loss; zero where the quantizer needs none."""


class Quantizer(nn.Module, ABC):
    """Latents in, `Quantized` out. Subclasses work on rows of vectors (B, N, D) in float32, N of them in each clip."""

    stage_sizes: tuple[int, ...]
    """Number of codes of each stage."""
    dim: int

    @property
    def codebook_size(self) -> int:
        """Number of different codes, those with absent stages included."""
        return self._vocabulary(self.stages)

    @property
    def stages(self) -> int:
        """Number of stages that a code can tell of."""
        return len(self.stage_sizes)

    def bits_per_code(self, stages: int | None = None) -> float:
        """What one code costs where all codes of a clip have this many stages (all, if not given), none absent."""
        return sum(math.log2(size) for size in self.stage_sizes[: self._checked(stages)])

    def coarser(self, codes_BTHW: Tensor, stages: int) -> Tensor:
        """The same codes with all but the first `stages` stages absent."""
        return codes_BTHW % self._vocabulary(self._checked(stages))

    def digit(self, codes: Tensor, stage: int) -> Tensor:
        """What codes of any shape say of one stage: its own code, or -1 where it is absent."""
        absent = int(stage > 0)
        return codes // self._vocabulary(stage) % (self.stage_sizes[stage] + absent) - absent

    def place(self, stage: int, digits: Tensor) -> Tensor:
        """What a stage's own codes add to the whole code; inverse of `digit`."""
        return (digits + int(stage > 0)) * self._vocabulary(stage)

    def count(self, codes: Tensor) -> Tensor:
        """How often each code of each stage occurs in codes of any shape, (S, V)."""
        digits = (self.digit(codes.flatten(), stage) for stage in range(self.stages))
        return torch.stack([torch.bincount(d[d >= 0], minlength=max(self.stage_sizes)) for d in digits])

    def forward(self, latents_BTHWD: Tensor) -> Quantized:
        """Quantize (B, T, H, W, dim) latents of any float type; the result has the input's type."""
        _, time, height, _, _ = latents_BTHWD.shape
        with torch.autocast(latents_BTHWD.device.type, enabled=False):
            rows_BND = rearrange(latents_BTHWD.float(), "b t h w d -> b (t h w) d")
            quantized_BND, codes_BN, loss = self.quantize_rows(rows_BND)
        return Quantized(
            rearrange(quantized_BND, "b (t h w) d -> b t h w d", t=time, h=height).to(latents_BTHWD.dtype),
            rearrange(codes_BN.long(), "b (t h w) -> b t h w", t=time, h=height),
            loss,
        )

    def lookup(self, codes_BTHW: Tensor) -> Tensor:
        """Codes -> float32 latents (B, T, H, W, dim), equal to what `forward` returned with them."""
        check_codes(codes_BTHW, self.codebook_size)
        with torch.autocast(codes_BTHW.device.type, enabled=False):
            latents_ND = self.lookup_rows(rearrange(codes_BTHW, "b t h w -> (b t h w)"))
        return latents_ND.reshape(*codes_BTHW.shape, self.dim)  # also where there are none

    def freeze(self) -> None:
        """Learn nothing more; to be called again after every `train()`."""
        self.requires_grad_(False).eval()

    def reduced(self) -> tuple[str, dict[str, Tensor]] | None:
        """What evaluation needs of this quantizer, where that is not what its weights hold.

        A kind that the standalone loader of exported files knows, and float32 tensors by the names they have there.
        """
        return None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Moves to another device, but not to another type."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)

    @abstractmethod
    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, dim) float32 -> quantized (B, N, dim), codes (B, N), scalar loss."""

    @abstractmethod
    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        """Codes (N,) -> float32 latents (N, dim)."""

    def _vocabulary(self, stages: int) -> int:
        """Number of different codes of the first stages, and so the worth of the digit that comes next."""
        return math.prod(size + int(stage > 0) for stage, size in enumerate(self.stage_sizes[:stages]))

    def _checked(self, stages: int | None) -> int:
        stages = self.stages if stages is None else stages
        if not 1 <= stages <= self.stages:
            raise ValueError(f"stages is {stages}; this tokenizer has {self.stages}: choose 1 to {self.stages}")
        return stages
