"""Finite scalars: the library's bit for bit, every code within reach, commitment."""

import math

import pytest
import torch
from einops import rearrange

from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 8, 8, 5, 5, 5), (7, 6, 4, 3)])
def test_finite_scalar_quantizer_equals_the_library_bit_for_bit(levels, latents):
    from vector_quantize_pytorch import FSQ

    ours, theirs = make_quantizer(QuantizerConfig(levels=levels)), FSQ(levels=list(levels))
    video = latents(len(levels), scale=2.0)
    quantized = ours(video)
    expected, expected_codes = theirs(rearrange(video, "b t h w d -> b (t h w) d"))
    assert torch.equal(rearrange(quantized.latents_BTHWD, "b t h w d -> b (t h w) d"), expected)
    assert torch.equal(rearrange(quantized.codes_BTHW, "b t h w -> b (t h w)"), expected_codes.long())
    every_code = torch.arange(ours.codebook_size)
    assert torch.equal(ours.lookup_rows(every_code), theirs.indices_to_codes(every_code))


def test_every_fsq_code_is_reached_by_its_own_latent():
    quantizer = make_quantizer(QuantizerConfig(levels=(8, 5, 3)))
    codes_N = torch.arange(quantizer.codebook_size)
    steps = quantizer.lookup_rows(codes_N) * (quantizer.levels_K // 2)
    half_range = (quantizer.levels_K - 1) * (1 + 1e-3) / 2
    offset = torch.where(quantizer.levels_K % 2 == 0, 0.5, 0.0)
    inputs = torch.atanh((steps + offset) / half_range) - torch.atanh(offset / half_range)
    assert torch.equal(quantizer.quantize_rows(inputs)[1], codes_N)


def test_commitment_draws_latents_to_the_levels_they_are_rounded_to():
    quantizer = make_quantizer(QuantizerConfig(levels=(8, 5), commitment=2.0))
    latents = torch.randn(1, 1, 4, 4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = quantizer(latents)
    before.loss.backward()
    after = quantizer(latents.detach() - 0.1 * latents.grad)
    assert torch.equal(after.codes_BTHW, before.codes_BTHW) and 0 < after.loss < before.loss
    half_way = torch.full((1, 1, 1, 1, 1), math.atanh(0.5 / 2.002))  # between level 0 and level 1 of five
    loss = make_quantizer(QuantizerConfig(levels=(5,), commitment=2.0))(half_way).loss
    assert float(loss) == pytest.approx(2.0 * 0.5**2)
