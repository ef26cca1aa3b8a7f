"""Learned codebooks and signs: the library's code for code, and a resumed codebook."""

import pytest
import torch

from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer

CONFIGS = [
    QuantizerConfig(kind="vq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="simvq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="lfq", codebook_size=256),
    QuantizerConfig(kind="bsq", codebook_size=256),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_evaluation_equals_the_library_code_for_code(config, trained):
    quantizer = trained(config)
    rows_1ND = torch.randn(1, 20_000, quantizer.dim, generator=torch.Generator().manual_seed(0))
    ours, codes, loss = quantizer.quantize_rows(rows_1ND)
    theirs, their_codes, *_ = quantizer.codebook.eval()(rows_1ND)
    assert torch.equal(codes, their_codes.long()) and codes.unique().numel() > 50 and loss == 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)  # the library subtracts the vector and adds it again
    their_lookup = getattr(quantizer.codebook, "indices_to_codes", None) or quantizer.codebook.get_codes_from_indices
    every_code = torch.arange(quantizer.codebook_size)
    torch.testing.assert_close(quantizer.lookup_rows(every_code), their_lookup(every_code[None])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", range(1, 19))
def test_channels_of_the_sphere_are_the_librarys_to_the_last_bit(dim):
    from vector_quantize_pytorch import LFQ

    quantizer = make_quantizer(QuantizerConfig(kind="bsq", codebook_size=2**dim))
    codes_N = torch.randint(2**dim, (50,), generator=torch.Generator().manual_seed(dim))
    theirs = LFQ(codebook_size=2**dim, dim=dim, spherical=True).indices_to_codes(codes_N[None])[0]
    assert torch.equal(quantizer.lookup_rows(codes_N), theirs)


@pytest.mark.parametrize("kind", ["vq", "simvq", "rvq"])
def test_a_resumed_codebook_goes_on_as_if_never_interrupted(kind, latents):
    config = QuantizerConfig(kind=kind, codebook_size=32, codebook_dim=4, stages=2)
    trained, resumed = make_quantizer(config).train(), make_quantizer(config).train()
    trained(latents(4))
    resumed.load_state_dict(trained.state_dict())
    every_code = torch.arange(trained.codebook_size)
    assert torch.equal(resumed.lookup_rows(every_code), trained.lookup_rows(every_code))
    for quantizer in (trained, resumed):
        torch.manual_seed(0)  # dead codes restart from random latents
        quantizer(latents(4, scale=1.0))
    assert torch.equal(resumed.lookup_rows(every_code), trained.lookup_rows(every_code))
