"""Which quantizer a tokenizer has, and how large its vocabulary is: `make_quantizer(QuantizerConfig(kind="vq"))`.

Refuses settings that no quantizer can be built of, and vocabularies that do not fit int64. Only what is needed is
imported: vector-quantize-pytorch by learned codebooks and signs alone, and by none of the shipped tokenizers.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from videogpt_tokenizer.checks import check_whole
from videogpt_tokenizer.quantizers.base import Quantizer
from videogpt_tokenizer.quantizers.finite_scalar import FiniteScalarQuantizer

QuantizerKind = Literal["fsq", "vq", "simvq", "lfq", "bsq", "rvq", "rfsq"]
_LARGEST_VOCABULARY = 2**62
"""Codes and what is computed with them are int64."""
_MOST_LEVELS = 1000
"""With more, the margin of finite scalars is half a step, and what is rounded leaves the range."""


@dataclass(frozen=True, kw_only=True)
class QuantizerConfig:
    """Which quantizer, and how large its vocabulary is."""

    kind: QuantizerKind = "fsq"
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
        if self.kind not in get_args(QuantizerKind):
            raise ValueError(f"quantizer kind {self.kind!r} is not known: choose {', '.join(get_args(QuantizerKind))}")
        for level in self.levels:
            check_whole("levels", level, 1, _MOST_LEVELS)
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
        if self.kind not in ("rvq", "rfsq"):
            return
        check_whole("stages", self.stages, 1, 64)
        if self.stages < 2:
            raise ValueError(f"{self.kind} stages is {self.stages}; it must be 2 or more: one stage is {self.kind[1:]}")
        size = self.codebook_size if self.kind == "rvq" else math.prod(self.levels)
        if size * (size + 1) ** (self.stages - 1) > _LARGEST_VOCABULARY:
            found = f"{self.kind} with {self.stages} stages of {size} codes has a vocabulary above 2**62"
            raise ValueError(f"{found}: take fewer stages or fewer codes in each")
        if not 0 <= self.quantizer_dropout <= 1:
            raise ValueError(f"quantizer_dropout is {self.quantizer_dropout}; it must be 0 to 1, for example 0.5")


def make_quantizer(config: QuantizerConfig) -> Quantizer:
    """The quantizer that `config` names."""
    if config.kind == "fsq":
        return FiniteScalarQuantizer(config.levels, config.commitment)
    from videogpt_tokenizer.quantizers import learned, residual

    sizes = config.codebook_size, config.codebook_dim
    if config.kind == "rvq":
        return residual.ResidualVectorQuantizer(config.stages, *sizes, config.quantizer_dropout)
    if config.kind == "rfsq":
        return residual.ResidualFiniteScalarQuantizer(config.stages, config.levels, config.quantizer_dropout)
    if config.kind == "vq":
        return learned.TableQuantizer(learned.learned_codebook(*sizes, commitment=0.25), *sizes)
    if config.kind == "simvq":
        return learned.TableQuantizer(learned.shared_codebook(*sizes), *sizes)
    return learned.LookupFreeQuantizer(config.codebook_size, spherical=config.kind == "bsq")
