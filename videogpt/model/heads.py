"""Codes digit by digit: a head that predicts them so, and an embedding that adds their digits up.

    head = LevelHead((8, 5, 5, 5), width=192)
    nats_BM = head.nats(hidden_BMD, codes_BM)                  # of whole codes, all levels at once
    logits_BMV = head.logits(hidden_BMD, digits_BMK[..., :2])  # of level 2, whose two earlier digits are known

A code is a number in mixed radix whose lowest digit is level 0; of a finite scalar quantizer a digit is a channel. The
probability of a code is the product over its levels of that of the digit, given the hidden state and the digits before
it. So 64,000 codes take 39 outputs, and what the network learns of one code it knows of all that share digits with it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videogpt_kernels import swiglu
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.quantizers.finite_scalar import strides_of

# B sequences, M rows, N ids of any shape, K levels, V values of a digit, D width


def digits_of(codes: Tensor, levels: Sequence[int]) -> Tensor:
    """Digits (..., K) of codes of any shape, the lowest first."""
    strides_K = strides_of(tuple(levels)).to(codes.device)
    return codes[..., None] // strides_K % torch.tensor(levels, device=codes.device)


def codes_of(digits: Tensor, levels: Sequence[int]) -> Tensor:
    """The inverse of `digits_of`."""
    return (digits * strides_of(tuple(levels)).to(digits.device)).sum(dim=-1)


def one_hot(digits_BMK: Tensor, levels: Sequence[int]) -> Tensor:
    """Float32 ones at the values of the digits, (B, M, the sum of these levels); of zero digits nothing."""
    hot = [F.one_hot(digits_BMK[..., level], values) for level, values in enumerate(levels)]
    return torch.cat(hot, dim=-1).float()


class _Level(nn.Module):
    """Logits of one digit from the hidden state and the digits before it: SwiGLU, whose input both add to."""

    def __init__(self, values: int, earlier: int, width: int, inner: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, 2 * inner, bias=False)
        self.earlier = nn.Linear(earlier, 2 * inner, bias=False) if earlier else None
        self.values = nn.Linear(inner, values, bias=False)

    def forward(self, hidden_BMD: Tensor, earlier_BME: Tensor | None) -> Tensor:
        inner = self.hidden(hidden_BMD)
        if self.earlier is not None:
            inner = inner + self.earlier(earlier_BME)
        return self.values(swiglu(inner))


class LevelHead(nn.Module):
    """A small network for each level."""

    def __init__(self, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.code_levels = tuple(levels)
        inner = inner_width(width)
        self.levels = nn.ModuleList(
            _Level(values, sum(levels[:level]), width, inner) for level, values in enumerate(levels)
        )

    def logits(self, hidden_BMD: Tensor, digits_BMK: Tensor) -> Tensor:
        """Logits (B, M, V) of the digit that follows these: of level 0 where K is 0."""
        level = digits_BMK.shape[-1]
        earlier_BME = one_hot(digits_BMK, self.code_levels[:level]).to(hidden_BMD.dtype) if level else None
        return self.levels[level](hidden_BMD, earlier_BME)

    def nats(self, hidden_BMD: Tensor, codes_BM: Tensor) -> Tensor:
        """Cross-entropy of codes in nats, (B, M) float32."""
        digits_BMK = digits_of(codes_BM, self.code_levels)
        nats = []
        for level in range(len(self.levels)):
            logits_RV = self.logits(hidden_BMD, digits_BMK[..., :level]).float().flatten(0, 1)
            nats.append(F.cross_entropy(logits_RV, digits_BMK[..., level].flatten(), reduction="none"))
        return torch.stack(nats).sum(dim=0).view(codes_BM.shape)


class LevelEmbedding(nn.Embedding):
    """Embeds a code as the sum of vectors of its digits; ids outside of the range of codes have a vector each."""

    def __init__(self, vocab_size: int, width: int, code_ids: range, levels: Sequence[int]) -> None:
        super().__init__(vocab_size - len(code_ids), width)
        self.code_ids, self.code_levels = code_ids, tuple(levels)
        self.digits = nn.Embedding(sum(levels), width)

    def forward(self, input: Tensor) -> Tensor:
        """Vectors (..., D) of ids of any shape."""
        codes = input - self.code_ids.start
        is_code = (codes >= 0) & (codes < len(self.code_ids))
        digits_NK = digits_of(codes.where(is_code, 0), self.code_levels)
        starts_K = digits_NK.new_tensor([sum(self.code_levels[:level]) for level in range(len(self.code_levels))])
        of_code = self.digits(digits_NK + starts_K).sum(dim=-2)
        others = super().forward(torch.where(codes < 0, input, input - len(self.code_ids)).where(~is_code, 0))
        return torch.where(is_code[..., None], of_code, others)


def inner_width(width: int) -> int:
    """Channels within a level: of four or five levels together as many weights as a flat head of 1,000 codes has."""
    return max(8, width // 2)


def levels_of(quantizer: QuantizerConfig, codebook_size: int) -> tuple[int, ...]:
    """Levels of the codes of a quantizer: the channels of finite scalars, bits by three, stages of a residual one, and
    of other codebooks, whose digits say nothing by themselves, two factors as near to each other as they can be.

    ValueError: there are no factors, as the size is prime.
    """
    if quantizer.kind == "fsq":
        return quantizer.levels
    if quantizer.kind in ("lfq", "bsq"):
        bits = codebook_size.bit_length() - 1
        return (8,) * (bits // 3) + ((2 ** (bits % 3),) if bits % 3 else ())
    if quantizer.kind in ("rvq", "rfsq"):
        size = quantizer.codebook_size if quantizer.kind == "rvq" else math.prod(quantizer.levels)
        return (size,) + (size + 1,) * (quantizer.stages - 1)  # in the later ones 0 says that the stage is absent
    lower = next(n for n in range(math.isqrt(codebook_size), 0, -1) if codebook_size % n == 0)
    if lower == 1:
        raise ValueError(
            f"{codebook_size} codes have no digits, as no number divides it: set head and embedding to flat and table"
        )
    return lower, codebook_size // lower
