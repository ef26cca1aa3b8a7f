"""The quantizer that a configuration names: `make_quantizer(QuantizerConfig(kind="vq"))`.

Only what that one needs is imported: vector-quantize-pytorch by learned codebooks and signs alone, and by none of the
shipped tokenizers.
"""

from videogpt_tokenizer.quantizers.base import Quantizer
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.quantizers.finite_scalar import FiniteScalarQuantizer


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
