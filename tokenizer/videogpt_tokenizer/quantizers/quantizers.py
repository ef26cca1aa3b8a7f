"""Quantizers: latent vectors -> integer codes -> latent vectors, behind one signature.

`make_quantizer(config)` builds one of them; each maps (B, T, H, W, D) latents to a `Quantized` triple and
`lookup` turns codes back into the very same latents. Everything here runs in float32 whatever autocast says:
in bfloat16 about one code in a hundred comes out different, and token streams would differ between machines.

A code is one int64 however many stages it tells of: stage 0 is its lowest digit, and in the digit of a later stage 0
says that the stage is absent, so that `coarser` codes are codes too. Residual quantizers (`residual_quantizers`)
have several stages, all others one.

Finite scalar quantization is written out here, because it is a dozen lines, every shipped tokenizer needs it and
loading one should need no more than torch; tests hold it to vector-quantize-pytorch bit for bit. Those that this
library trains are in `learned_quantizers`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_codes, check_whole

# B batch, T latent frames, D quantizer width, H/W latent grid, N vectors, K scalar levels, S stages, V codes of a stage


Kind = Literal["fsq", "vq", "simvq", "lfq", "bsq", "rvq", "rfsq"]
LARGEST_VOCABULARY = 2**62
"""Codes and what is computed with them are int64."""
MARGIN = 1e-3
"""How far beyond its outermost levels a channel of finite scalars is bounded, as a share of its half range."""
MOST_LEVELS = 1000
"""With more, that margin is half a step, and what is rounded leaves the range."""


class Quantized(NamedTuple):
    """What a quantizer returns, the same in training and in evaluation."""

    latents_BTHWD: Tensor
    """Quantized latents; gradients pass straight through to the input."""
    codes_BTHW: Tensor
    """int64 in [0, codebook_size)."""
    loss: Tensor
    """Scalar to add to the training loss; zero where the quantizer needs none."""


class Reduced(NamedTuple):
    """A quantizer as exported files have it."""

    kind: str
    """A kind that `standalone_stages` knows."""
    tensors: dict[str, Tensor]
    """Float32, by the names they have there."""


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Which quantizer, and how large its vocabulary is."""

    kind: Kind = "fsq"
    """fsq: finite scalar (no learned state); vq: learned codebook with moving averages; simvq: random codebook behind a
    learned matrix; lfq: one bit a channel; bsq: the same on the unit sphere; rvq and rfsq: several stages of vq or of
    finite scalars, each for what the stages before it left over."""
    levels: tuple[int, ...] = (8, 5, 5, 5)
    """fsq and rfsq only: levels of each channel; the vocabulary, for rfsq of one stage, is their product."""
    commitment: float = 0.0
    """fsq only: weight of the mean squared distance, in steps, from latents to the levels they are rounded to. Above 0
    fewer codes flip with what hardly changes: some PSNR for fewer bits that a language model must predict."""
    codebook_size: int = 1024
    """All but fsq and rfsq: size of the vocabulary, for rvq of one stage (lfq, bsq: a power of two, at most 2**18)."""
    codebook_dim: int = 8
    """vq, simvq and rvq only: width of the codebook's vectors; low widths keep more of the codebook in use."""
    stages: int = 4
    """rvq and rfsq only: number of stages. With n codes in each, the vocabulary is n * (n + 1) ** (stages - 1)."""
    quantizer_dropout: float = 0.5
    """rvq and rfsq only: share of the training clips whose number of stages is drawn, evenly from 1 to all; what comes
    after them is left out. So one model has several rates; at 0 only all stages together are any good."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.kind not in get_args(Kind):
            raise ValueError(f"quantizer kind {self.kind!r} is not known: choose {', '.join(get_args(Kind))}")
        for level in self.levels:
            check_whole("levels", level, 1, MOST_LEVELS)
        if self.kind in ("fsq", "rfsq") and (not self.levels or min(self.levels) < 3):
            raise ValueError(f"{self.kind} levels {self.levels} must each be 3 or more, for example (8, 5, 5, 5)")
        check_whole("product of levels", math.prod(self.levels), 1, 2**24)
        check_whole("codebook_size", self.codebook_size, 2, 2**24)
        check_whole("codebook_dim", self.codebook_dim, 1, 2**12)
        if not 0 <= self.commitment < math.inf:
            raise ValueError(f"fsq commitment is {self.commitment}; it must be 0 or more, for example 0.05")
        if self.kind in ("lfq", "bsq"):
            check_whole(f"{self.kind} codebook_size", self.codebook_size, 2, 2**18)  # training makes a table of them
        if self.kind in ("lfq", "bsq") and not math.log2(self.codebook_size).is_integer():
            raise ValueError(f"{self.kind} codebook_size {self.codebook_size} must be a power of two, for example 1024")
        if self.kind in ("rvq", "rfsq"):
            self._check_stages()

    def _check_stages(self) -> None:
        check_whole("stages", self.stages, 1, 64)
        if self.stages < 2:
            raise ValueError(f"{self.kind} stages is {self.stages}; it must be 2 or more: one stage is {self.kind[1:]}")
        size = self.codebook_size if self.kind == "rvq" else math.prod(self.levels)
        if size * (size + 1) ** (self.stages - 1) > LARGEST_VOCABULARY:
            raise ValueError(
                f"{self.kind} with {self.stages} stages of {size} codes has a vocabulary above 2**62: "
                f"take fewer stages or fewer codes in each"
            )
        if not 0 <= self.quantizer_dropout <= 1:
            raise ValueError(f"quantizer_dropout is {self.quantizer_dropout}; it must be 0 to 1, for example 0.5")


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
        """What one code costs where all codes of a clip have this many stages (all, if not given), none absent.

        Raises:
            ValueError: there is no such number of stages.
        """
        return sum(math.log2(size) for size in self.stage_sizes[: self._checked(stages)])

    def coarser(self, codes_BTHW: Tensor, stages: int) -> Tensor:
        """The same codes with all but the first `stages` stages absent.

        Raises:
            ValueError: there is no such number of stages.
        """
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
        """Codes -> float32 latents (B, T, H, W, dim), equal to what `forward` returned with them.

        Raises:
            ValueError: a code lies outside [0, codebook_size), or these are no codes.
        """
        check_codes(codes_BTHW, self.codebook_size)
        with torch.autocast(codes_BTHW.device.type, enabled=False):
            latents_ND = self.lookup_rows(rearrange(codes_BTHW, "b t h w -> (b t h w)"))
        return latents_ND.reshape(*codes_BTHW.shape, self.dim)  # also where there are none

    def freeze(self) -> None:
        """Learn nothing more; to be called again after every `train()`."""
        self.requires_grad_(False).eval()

    def reduced(self) -> Reduced | None:
        """What evaluation needs of this quantizer, where that is not what its weights hold."""
        return None

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


class FiniteScalarQuantizer(Quantizer):
    """Round each bounded channel to a few levels: no codebook to learn, none to collapse.

    Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023 (arXiv 2309.15505), appendix A.1.
    """

    levels_K: Tensor
    strides_K: Tensor

    def __init__(self, levels: tuple[int, ...], commitment: float = 0.0) -> None:
        super().__init__()
        self.stage_sizes, self.dim = (math.prod(levels),), len(levels)
        self.commitment = commitment
        strides = [math.prod(levels[:index]) for index in range(len(levels))]
        self.register_buffer("levels_K", torch.tensor(levels), persistent=False)
        self.register_buffer("strides_K", torch.tensor(strides), persistent=False)

    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half_range_K = (self.levels_K - 1) * (1 + MARGIN) / 2
        offset_K = torch.where(self.levels_K % 2 == 0, 0.5, 0.0)
        bounded_BNK = torch.tanh(rows_BND + torch.atanh(offset_K / half_range_K)) * half_range_K - offset_K
        rounded_BNK = bounded_BNK.round().detach()
        steps_BNK = bounded_BNK + (rounded_BNK - bounded_BNK).detach()
        half_width_K = self.levels_K // 2
        codes_BN = ((steps_BNK.round().long() + half_width_K) * self.strides_K).sum(dim=-1)
        loss = self.commitment * (bounded_BNK - rounded_BNK).square().mean()
        return steps_BNK / half_width_K, codes_BN, loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        steps_NK = codes_N[:, None] // self.strides_K % self.levels_K - self.levels_K // 2
        return steps_NK / (self.levels_K // 2)


def make_quantizer(config: QuantizerConfig) -> Quantizer:
    """The quantizer that `config` names."""
    if config.kind == "fsq":
        return FiniteScalarQuantizer(config.levels, config.commitment)
    from videogpt_tokenizer.quantizers import learned as learned
    from videogpt_tokenizer.quantizers import residual as residual

    if config.kind == "rvq":
        stages, dropout = config.stages, config.quantizer_dropout
        return residual.ResidualVectorQuantizer(stages, config.codebook_size, config.codebook_dim, dropout)
    if config.kind == "rfsq":
        return residual.ResidualFiniteScalarQuantizer(config.stages, config.levels, config.quantizer_dropout)
    if config.kind == "vq":
        return learned.VectorQuantizer(config.codebook_size, config.codebook_dim)
    if config.kind == "simvq":
        return learned.SimpleVectorQuantizer(config.codebook_size, config.codebook_dim)
    return learned.LookupFreeQuantizer(config.codebook_size, spherical=config.kind == "bsq")
