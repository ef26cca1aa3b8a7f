"""Block by block against all logits at once: values and gradients, in float32, under autocast and in bfloat16."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt.model import cross_entropy as blockwise
from videogpt.model.cross_entropy import cross_entropy

# R rows, D width, V ids


def plain(hidden_RD: Tensor, weight_VD: Tensor, targets_R: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden_RD, weight_VD).float(), targets_R, reduction="none")


def values_and_gradients(loss, dtype: torch.dtype, *, autocast: bool, rows: int = 37, ids: int = 1003) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden_RD = torch.randn(rows, 24, generator=generator).to(dtype).requires_grad_()
    weight_VD = torch.randn(ids, 24, generator=generator).to(dtype).requires_grad_()
    targets_R = torch.randint(ids, (rows,), generator=generator)
    targets_R[:2] = torch.tensor([0, ids - 1])
    grad_R = torch.rand(rows, generator=generator)
    grad_R[3] = 0  # a row that predicts nothing
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        nats_R = loss(hidden_RD, weight_VD, targets_R)
    assert nats_R.dtype == torch.float32
    return [nats_R.detach(), *torch.autograd.grad(nats_R, (hidden_RD, weight_VD), grad_R)]


@pytest.fixture(params=[64, 300, 4096], ids=lambda width: f"blocks of {width}")
def block(request, monkeypatch) -> None:
    """Blocks that the number of ids is no multiple of, and one that holds them all."""
    monkeypatch.setattr(blockwise, "BLOCK_LOGITS", 1)
    monkeypatch.setattr(blockwise, "NARROWEST", request.param)


def test_in_float32_it_is_the_plain_one_up_to_rounding(block) -> None:
    expected = values_and_gradients(plain, torch.float32, autocast=False)
    for found, value in zip(values_and_gradients(cross_entropy, torch.float32, autocast=False), expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("dtype", "autocast"), [(torch.float32, True), (torch.bfloat16, False)])
def test_in_bfloat16_it_is_as_near_to_the_exact_one_as_the_plain_one_is(block, dtype, autocast) -> None:
    exact = values_and_gradients(plain, torch.float32, autocast=False)
    usual = values_and_gradients(plain, dtype, autocast=autocast)
    for found, other, value in zip(
        values_and_gradients(cross_entropy, dtype, autocast=autocast), usual, exact, strict=True
    ):
        assert found.dtype == other.dtype
        error, usual_error = ((x.float() - value).norm() / value.norm() for x in (found, other))
        assert error < 1.1 * usual_error + 1e-4


def test_no_row_and_one_row(block) -> None:
    for rows in (0, 1):
        nats_R = cross_entropy(torch.ones(rows, 8), torch.ones(1003, 8), torch.zeros(rows, dtype=torch.long))
        torch.testing.assert_close(nats_R, torch.full((rows,), 1003.0).log())


def test_a_target_far_above_all_others_costs_nothing_and_one_far_below_what_it_should(block) -> None:
    hidden_RD, targets_R = torch.ones(2, 1), torch.tensor([700, 1])
    weight_VD = torch.zeros(1003, 1)
    weight_VD[700] = 1e4
    torch.testing.assert_close(cross_entropy(hidden_RD, weight_VD, targets_R), torch.tensor([0.0, 1e4]))
