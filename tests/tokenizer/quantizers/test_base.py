"""What every quantizer does: its codes are its latents, whatever the batch and autocast; training moves it."""

import pytest
import torch

from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer

CONFIGS = [
    QuantizerConfig(kind="fsq", levels=(8, 5, 5, 5)),
    QuantizerConfig(kind="fsq", levels=(7, 6, 4, 3)),
    QuantizerConfig(kind="vq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="simvq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="lfq", codebook_size=256),
    QuantizerConfig(kind="bsq", codebook_size=256),
    QuantizerConfig(kind="rvq", codebook_size=16, codebook_dim=6, stages=3),
    QuantizerConfig(kind="rfsq", levels=(5, 4, 3), stages=3),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_codes_to_latents_to_codes_is_the_identity(config, latents, trained):
    quantizer = trained(config)
    quantized = quantizer(latents(quantizer.dim))
    assert quantized.codes_BTHW.dtype == torch.int64 and quantized.codes_BTHW.shape == (2, 3, 4, 5)
    torch.testing.assert_close(quantizer.lookup(quantized.codes_BTHW), quantized.latents_BTHWD)
    if config.kind not in ("fsq", "rvq", "rfsq"):  # those have tests of their own
        assert torch.equal(quantizer(quantized.latents_BTHWD).codes_BTHW, quantized.codes_BTHW)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_evaluation_leaves_the_state_alone(config, latents):
    quantizer = make_quantizer(config).eval()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.lookup(quantizer(latents(quantizer.dim)).codes_BTHW)
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_row_has_the_same_code_in_any_batch_and_under_autocast(config, latents, trained):
    quantizer = trained(config)
    video = latents(quantizer.dim, seed=1)
    codes = quantizer(video).codes_BTHW
    alone = torch.cat([quantizer(frame).codes_BTHW for frame in video.split(1, dim=1)], dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, found = quantizer(video).codes_BTHW, quantizer.lookup(codes)
    assert torch.equal(alone, codes), "batches"
    assert torch.equal(inside, codes) and torch.equal(found, quantizer.lookup(codes)), "autocast"


@pytest.mark.parametrize("config", CONFIGS[1:], ids=str)
def test_training_sends_a_gradient_through(config, latents):
    quantizer = make_quantizer(config).train()
    video = latents(quantizer.dim).requires_grad_()
    (gradient,) = torch.autograd.grad(quantizer(video).latents_BTHWD.square().sum(), video)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("config", CONFIGS[2:], ids=str)
def test_training_moves_latents_and_codebook_together(config, latents):
    quantizer = make_quantizer(config).train()
    video = torch.nn.Parameter(latents(quantizer.dim))
    optimizer = torch.optim.SGD([video, *quantizer.parameters()], lr=0.5)
    first = last = None
    for _ in range(30):
        optimizer.zero_grad()
        quantized = quantizer(video)
        distance = 1 - torch.cosine_similarity(quantized.latents_BTHWD, video, dim=-1).mean().detach()
        first, last = distance if first is None else first, distance
        (quantized.loss * 100).backward()
        optimizer.step()
    assert last < 0.9 * first


def test_codes_outside_the_codebook_are_refused():
    quantizer = make_quantizer(QuantizerConfig(levels=(4, 3)))
    with pytest.raises(ValueError, match="0 to 11"):
        quantizer.lookup(torch.full((1, 1, 2, 2), 12))
