"""The prior over codes: a distribution, causal, and one that learns."""

from unittest.mock import patch

import pytest
import torch

from videogpt_tokenizer.quantizers.finite_scalar import FiniteScalarQuantizer
from videogpt_tokenizer.training.code_prior import CodePrior, PriorConfig

LEVELS = (8, 5, 3)


def latents(*shape: int, seed: int = 0) -> torch.Tensor:
    quantizer = FiniteScalarQuantizer(LEVELS)
    codes = torch.randint(0, quantizer.codebook_size, shape, generator=torch.Generator().manual_seed(seed))
    return quantizer.lookup(codes)


def test_bits_are_those_of_a_distribution_over_all_codes() -> None:
    quantizer = FiniteScalarQuantizer(LEVELS)
    every = quantizer.lookup(torch.arange(quantizer.codebook_size).view(-1, 1, 1, 1))
    torch.manual_seed(3)
    prior = CodePrior(PriorConfig(width=8, depth=1), LEVELS)
    torch.nn.init.normal_(prior.earlier_channels_KK, std=0.3)
    bits = torch.stack([prior(code[None]) for code in every])
    assert torch.isclose((2.0**-bits).sum(), torch.tensor(1.0), atol=1e-4)


def test_a_code_is_predicted_from_earlier_ones_alone() -> None:
    prior = CodePrior(PriorConfig(weight=1.0, width=8, depth=2), LEVELS)
    torch.nn.init.normal_(prior.earlier_channels_KK, std=0.3)
    x = latents(1, 3, 4, 4).requires_grad_()
    with patch.object(prior, "_bits", wraps=prior._bits) as bits:
        prior(x)
    _, *parameters = bits.call_args.args  # of the distributions: means, logarithms of scales
    order = torch.arange(3 * 4 * 4 * len(LEVELS)).view(3, 4, 4, len(LEVELS))
    for place in torch.cartesian_prod(*map(torch.arange, order.shape)).tolist():
        reached = torch.zeros_like(order, dtype=torch.bool)
        for parameter in parameters:
            (gradient,) = torch.autograd.grad(parameter[0][tuple(place)], x, retain_graph=True)
            reached |= gradient[0] != 0
        assert not (reached & (order >= order[tuple(place)])).any(), place
        assert place[0] == 0 or reached[place[0] - 1].any(), "the frame before is seen"


def test_a_prior_learns_from_what_it_took_for_impossible() -> None:
    prior = CodePrior(PriorConfig(), LEVELS)
    mean, log_scale = (torch.full((1, 3), value, requires_grad=True) for value in (-3.0, -2.0))
    bits = prior._bits(torch.zeros(1, 3), mean, log_scale)
    gradients = torch.autograd.grad(bits.sum(), (mean, log_scale))
    assert (bits > 25).all() and all(gradient.isfinite().all() and (gradient < 0).all() for gradient in gradients)


def test_weight_scales_what_reaches_the_latents_and_nothing_else() -> None:
    found = {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        prior = CodePrior(PriorConfig(weight=weight, width=8, depth=1), LEVELS)
        x = latents(2, 3, 4, 4).requires_grad_()
        prior(x).backward()
        found[weight] = x.grad, prior.before.weight.grad
    assert found[0.0][0].eq(0).all() and found[1.0][0].abs().sum() > 0
    assert torch.allclose(found[0.5][0], found[1.0][0] / 2)
    assert all(found[weight][1].equal(found[1.0][1]) for weight in (0.0, 0.5))


def test_a_prior_learns_what_repeats() -> None:
    torch.manual_seed(0)
    prior = CodePrior(PriorConfig(width=16, depth=1), LEVELS)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for step in range(120):
        still = latents(4, 1, 4, 4, seed=step).expand(-1, 4, -1, -1, -1)
        loss = prior(still)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    uniform = sum(torch.tensor(LEVELS).float().log2())
    assert loss < 0.6 * uniform, "three frames of four are known from the one before"


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="prior learning_rate is 0"):
        PriorConfig(learning_rate=0)


def test_a_weight_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="prior weight is -1"):
        PriorConfig(weight=-1)
