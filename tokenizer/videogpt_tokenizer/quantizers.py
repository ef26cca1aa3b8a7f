"""Quantizers: latent vectors -> integer codes -> latent vectors, behind one signature.

`make_quantizer(config)` builds one of them; each maps (B, T, H, W, D) latents to a `Quantized` triple and
`lookup` turns codes back into the very same latents. Everything here runs in float32 whatever autocast says:
in bfloat16 about one code in a hundred comes out different, and token streams would differ between machines.

Finite scalar quantization is written out here, because it is a dozen lines, every shipped tokenizer needs it and
loading one should need no more than torch; tests hold it to vector-quantize-pytorch bit for bit. The quantizers
with learned codebooks are that library's, imported when one is built.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_codes, check_whole

# B batch, T latent frames, D quantizer width, H/W latent grid, N vectors, K scalar levels


Kind = Literal["fsq", "vq", "simvq", "lfq", "bsq"]


class Quantized(NamedTuple):
    """What a quantizer returns, the same in training and in evaluation."""

    latents_BTHWD: Tensor
    """Quantized latents; gradients pass straight through to the input."""
    codes_BTHW: Tensor
    """int64 in [0, codebook_size)."""
    loss: Tensor
    """Scalar to add to the training loss; zero where the quantizer needs none."""


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Which quantizer, and how large its vocabulary is."""

    kind: Kind = "fsq"
    """fsq: finite scalar (no learned state); vq: learned codebook with moving averages; simvq: random codebook behind a
    learned matrix; lfq: one bit a channel; bsq: the same on the unit sphere."""
    levels: tuple[int, ...] = (8, 5, 5, 5)
    """fsq only: levels of each channel; the vocabulary is their product."""
    commitment: float = 0.0
    """fsq only: weight of the mean squared distance, in steps, from latents to the levels they are rounded to. Above 0
    fewer codes flip with what hardly changes: some PSNR for fewer bits that a language model must predict."""
    codebook_size: int = 1024
    """All but fsq: size of the vocabulary (a power of two for lfq and bsq)."""
    codebook_dim: int = 8
    """vq and simvq only: width of the codebook's vectors; low widths keep more of the codebook in use."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.kind not in get_args(Kind):
            raise ValueError(f"quantizer kind {self.kind!r} is not known: choose {', '.join(get_args(Kind))}")
        for level in self.levels:
            check_whole("levels", level, 1, 2**16)
        if self.kind == "fsq" and (not self.levels or min(self.levels) < 3):
            raise ValueError(f"fsq levels {self.levels} must each be 3 or more, for example (8, 5, 5, 5)")
        check_whole("product of levels", math.prod(self.levels), 1, 2**31)
        check_whole("codebook_size", self.codebook_size, 2, 2**24)
        check_whole("codebook_dim", self.codebook_dim, 1, 2**12)
        if not 0 <= self.commitment < math.inf:
            raise ValueError(f"fsq commitment is {self.commitment}; it must be 0 or more, for example 0.05")
        if self.kind in ("lfq", "bsq") and not math.log2(self.codebook_size).is_integer():
            raise ValueError(f"{self.kind} codebook_size {self.codebook_size} must be a power of two, for example 1024")


class Quantizer(nn.Module, ABC):
    """Latents in, `Quantized` out. Subclasses work on rows of vectors (N, D) in float32."""

    codebook_size: int
    dim: int

    def forward(self, latents_BTHWD: Tensor) -> Quantized:
        """Quantize (B, T, H, W, dim) latents of any float type; the result has the input's type."""
        batch, time, height, _, _ = latents_BTHWD.shape
        with torch.autocast(latents_BTHWD.device.type, enabled=False):
            rows_ND = rearrange(latents_BTHWD.float(), "b t h w d -> (b t h w) d")
            quantized_ND, codes_N, loss = self.quantize_rows(rows_ND)
        unfold = "(b t h w) d -> b t h w d"
        return Quantized(
            rearrange(quantized_ND, unfold, b=batch, t=time, h=height).to(latents_BTHWD.dtype),
            rearrange(codes_N.long(), "(b t h w) -> b t h w", b=batch, t=time, h=height),
            loss,
        )

    def lookup(self, codes_BTHW: Tensor) -> Tensor:
        """Codes -> float32 latents (B, T, H, W, dim), equal to what `forward` returned with them.

        Raises:
            ValueError: a code lies outside [0, codebook_size), or these are no codes.
        """
        check_codes(codes_BTHW, self.codebook_size)
        batch, time, height, _ = codes_BTHW.shape
        latents_ND = self.lookup_rows(rearrange(codes_BTHW, "b t h w -> (b t h w)"))
        return rearrange(latents_ND, "(b t h w) d -> b t h w d", b=batch, t=time, h=height)

    @abstractmethod
    def quantize_rows(self, rows_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, dim) float32 -> quantized (N, dim), codes (N,), scalar loss."""

    @abstractmethod
    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        """Codes (N,) -> float32 latents (N, dim)."""


class FiniteScalarQuantizer(Quantizer):
    """Round each bounded channel to a few levels: no codebook to learn, none to collapse.

    Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023 (arXiv 2309.15505), appendix A.1.
    """

    levels_K: Tensor
    strides_K: Tensor

    def __init__(self, levels: tuple[int, ...], commitment: float = 0.0) -> None:
        super().__init__()
        self.codebook_size, self.dim = math.prod(levels), len(levels)
        self.commitment = commitment
        strides = [math.prod(levels[:index]) for index in range(len(levels))]
        self.register_buffer("levels_K", torch.tensor(levels), persistent=False)
        self.register_buffer("strides_K", torch.tensor(strides), persistent=False)

    def quantize_rows(self, rows_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half_range_K = (self.levels_K - 1) * (1 + 1e-3) / 2
        offset_K = torch.where(self.levels_K % 2 == 0, 0.5, 0.0)
        bounded_NK = torch.tanh(rows_ND + torch.atanh(offset_K / half_range_K)) * half_range_K - offset_K
        rounded_NK = bounded_NK.round().detach()
        steps_NK = bounded_NK + (rounded_NK - bounded_NK).detach()
        half_width_K = self.levels_K // 2
        codes_N = ((steps_NK.round().long() + half_width_K) * self.strides_K).sum(dim=-1)
        loss = self.commitment * (bounded_NK - rounded_NK).square().mean()
        return steps_NK / half_width_K, codes_N, loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        steps_NK = codes_N[:, None] // self.strides_K % self.levels_K - self.levels_K // 2
        return steps_NK / (self.levels_K // 2)


class VectorQuantizer(Quantizer):
    """Nearest vector of a learned codebook (van den Oord et al., 2017), from vector-quantize-pytorch.

    k-means start, moving averages with decay 0.99 and restart of dead codes, instead of that library's defaults;
    its state lives in buffers, so a resumed run keeps its codebook.
    """

    def __init__(self, codebook_size: int, codebook_dim: int) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__()
        self.codebook_size, self.dim = codebook_size, codebook_dim
        self.codebook = VectorQuantize(
            dim=codebook_dim,
            codebook_size=codebook_size,
            decay=0.99,
            kmeans_init=True,
            threshold_ema_dead_code=2,
            commitment_weight=0.25,
            rotation_trick=False,
        )

    def quantize_rows(self, rows_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized_1ND, codes_1N, loss = self.codebook(rows_ND[None])
        return quantized_1ND[0], codes_1N[0], loss.sum()

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        return self.codebook.get_codes_from_indices(codes_N[None])[0].float()


class SimpleVectorQuantizer(Quantizer):
    """Nearest of random vectors behind a learned matrix, which moves all of them at once (Zhu et al., "Addressing
    representation collapse in vector quantized models with one linear layer", arXiv 2411.02038), from the same library.
    """

    def __init__(self, codebook_size: int, codebook_dim: int) -> None:
        from vector_quantize_pytorch import SimVQ

        super().__init__()
        self.codebook_size, self.dim = codebook_size, codebook_dim
        # The library's rotation of gradients inflates the commitment loss of this quantizer (its issue 177).
        self.codebook = SimVQ(dim=codebook_dim, codebook_size=codebook_size, rotation_trick=False)

    def quantize_rows(self, rows_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quantized_1ND, codes_1N, loss = self.codebook(rows_ND[None])
        return quantized_1ND[0], codes_1N[0], loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        return self.codebook.indices_to_codes(codes_N[None])[0].float()


class LookupFreeQuantizer(Quantizer):
    """The sign of every channel is one bit of the code (Yu et al., 2023, arXiv 2310.05737), from the same library.

    On the unit sphere it is binary spherical quantization (Zhao et al., 2024, arXiv 2406.07548).
    """

    def __init__(self, codebook_size: int, *, spherical: bool) -> None:
        from vector_quantize_pytorch import LFQ

        super().__init__()
        self.codebook_size, self.dim = codebook_size, int(math.log2(codebook_size))
        self.codebook = LFQ(codebook_size=codebook_size, dim=self.dim, commitment_loss_weight=0.25, spherical=spherical)

    def quantize_rows(self, rows_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        result = self.codebook(rows_ND[None])
        return result.quantized[0], result.indices[0], result.entropy_aux_loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        return self.codebook.indices_to_codes(codes_N[None])[0].float()


def make_quantizer(config: QuantizerConfig) -> Quantizer:
    """The quantizer that `config` names."""
    if config.kind == "fsq":
        return FiniteScalarQuantizer(config.levels, config.commitment)
    if config.kind == "vq":
        return VectorQuantizer(config.codebook_size, config.codebook_dim)
    if config.kind == "simvq":
        return SimpleVectorQuantizer(config.codebook_size, config.codebook_dim)
    return LookupFreeQuantizer(config.codebook_size, spherical=config.kind == "bsq")
