"""Quantizers that vector-quantize-pytorch trains: learned codebooks, and signs.

Training is the library's, imported when a quantizer is built. Evaluation is written out here in the way exported
files compute it, as the nearest row of a table or as signs: it needs no more than that table, leaves all state alone
(the library would start its k-means on the first clips it sees), and tests hold it to the library code for code.
"""

import math
from typing import Any

import torch
from torch import Tensor, distributed

from videogpt_tokenizer.quantizers.base import Quantizer

# B clips, N vectors in each, D width of a vector, V codes


def nearest_rows(rows_BND: Tensor, table_VD: Tensor) -> Tensor:
    """Index of the nearest row of a table for each vector, (B, N); the first of several that are equally near.

    |x - c|^2 without |x|^2, which changes no order and only costs digits.
    """
    return (rows_BND @ table_VD.T - table_VD.square().sum(dim=1) / 2).argmax(dim=-1)


class TableQuantizer(Quantizer):
    """The nearest row of a learned table, a codebook of the library: `learned_codebook` or `shared_codebook`.

    Its state lives in buffers and parameters, so a resumed run keeps its codebook.
    """

    def __init__(self, codebook: Any, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.stage_sizes, self.dim, self.codebook = (codebook_size,), codebook_dim, codebook

    def tables(self) -> Tensor:
        """Float32 (1, V, D), the table of the only stage."""
        return self.codebook.codebook[None].detach()

    def reduced(self) -> tuple[str, dict[str, Tensor]]:
        return "tables", {"tables_SVK": self.tables()}

    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            return train_codebook(self.codebook, rows_BND)
        table_VD = self.codebook.codebook
        codes_BN = nearest_rows(rows_BND, table_VD)
        return table_VD[codes_BN], codes_BN, rows_BND.new_zeros(())

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        return self.codebook.codebook[codes_N]


def learned_codebook(size: int, dim: int, commitment: float) -> Any:
    """Vectors that are learned (van den Oord et al., 2017).

    k-means start, moving averages with decay 0.99 and restart of dead codes, instead of the library's defaults.
    """
    from vector_quantize_pytorch import VectorQuantize

    averages = {"decay": 0.99, "kmeans_init": True, "threshold_ema_dead_code": 2, "rotation_trick": False}
    return VectorQuantize(dim=dim, codebook_size=size, commitment_weight=commitment, **averages)


def shared_codebook(size: int, dim: int) -> Any:
    """Random vectors behind a learned matrix, which moves all of them at once (Zhu et al., "Addressing representation
    collapse in vector quantized models with one linear layer", arXiv 2411.02038)."""
    from vector_quantize_pytorch import SimVQ

    # The library's rotation of gradients inflates the commitment loss of this quantizer (its issue 177).
    return SimVQ(dim=dim, codebook_size=size, rotation_trick=False)


def train_codebook(codebook: Any, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step of a codebook: rows with the gradient passed straight through, their codes, commitment loss.

    The library asks for other processes when a learned codebook is built, and Lightning starts them later: without
    what is done here, every codebook would learn from the clips of the first process alone.
    """
    inner = getattr(codebook, "_codebook", None)
    several = distributed.is_initialized() and distributed.get_world_size() > 1
    if inner is not None and several and not inner.use_ddp:
        from vector_quantize_pytorch.vector_quantize_pytorch import sample_vectors_distributed

        inner.use_ddp = True
        inner.sample_fn = inner.replace_sample_fn = sample_vectors_distributed
        inner.all_reduce_fn = inner.kmeans_all_reduce_fn = distributed.all_reduce
    quantized_BND, codes_BN, loss = codebook(rows_BND)
    return quantized_BND, codes_BN, loss.sum()


class LookupFreeQuantizer(Quantizer):
    """The sign of every channel is one bit of the code (Yu et al., 2023, arXiv 2310.05737), from the same library.

    On the unit sphere it is binary spherical quantization (Zhao et al., 2024, arXiv 2406.07548).
    """

    bits_D: Tensor
    length: Tensor

    def __init__(self, codebook_size: int, *, spherical: bool) -> None:
        from vector_quantize_pytorch import LFQ

        super().__init__()
        self.stage_sizes, self.dim = (codebook_size,), int(math.log2(codebook_size))
        self.codebook = LFQ(codebook_size=codebook_size, dim=self.dim, commitment_loss_weight=0.25, spherical=spherical)
        self.register_buffer("bits_D", 2 ** torch.arange(self.dim - 1, -1, -1), persistent=False)
        # What every channel is worth, up to its sign.
        length = 1 / torch.tensor(float(self.dim if spherical else 1)).sqrt()
        self.register_buffer("length", length, persistent=False)

    def reduced(self) -> tuple[str, dict[str, Tensor]]:
        return "signs", {"length": self.length}

    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.training:
            result = self.codebook(rows_BND)
            return result.quantized, result.indices, result.entropy_aux_loss
        codes_BN = ((rows_BND > 0) * self.bits_D).sum(dim=-1)
        return torch.where(rows_BND > 0, self.length, -self.length), codes_BN, rows_BND.new_zeros(())

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        return torch.where(codes_N[:, None] // self.bits_D % 2 == 1, self.length, -self.length)
