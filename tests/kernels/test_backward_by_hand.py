"""Backward passes written by hand against those that autograd makes of the plain operations."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels import qk_rope, rms_norm, swiglu
from videogpt_kernels.reference import SHORTEST, reference_qk_rope

# B sequences, N rows, H heads, D channels

NEAR = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.0}
every_dtype = pytest.mark.parametrize("dtype", NEAR, ids=str)


def plain_rms_norm(x: Tensor) -> Tensor:
    exact = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    return x * (x.shape[-1] ** 0.5 / length.clamp(min=SHORTEST)).to(x.dtype)


def plain_swiglu(x: Tensor) -> Tensor:
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def out_and_gradients(run: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = run(*leaves)
    up = torch.linspace(-9, 9, out.numel(), dtype=torch.float64).cos().view(out.shape).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def assert_same(found: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """The result to the last bit, and gradients as near to those in float64 as autograd's own."""
    ours, autograds = out_and_gradients(found, inputs), out_and_gradients(plain, inputs)
    assert torch.equal(ours[0], autograds[0])
    for x, y, exact in zip(ours, autograds, out_and_gradients(plain, [x.double() for x in inputs]), strict=True):
        assert x.isfinite().all()
        allowed = 1.5 * float((y.double() - exact).norm()) + NEAR[inputs[0].dtype] * float(exact.norm())
        assert float((x.double() - exact).norm()) <= allowed


@every_dtype
@pytest.mark.parametrize("shape", [(2, 7, 48), (1, 1, 8), (5, 33)])
def test_rms_norm(shape: tuple[int, ...], dtype: torch.dtype):
    assert_same(rms_norm, plain_rms_norm, [torch.randn(shape).to(dtype)])


def test_rms_norm_of_rows_that_are_too_short_to_be_scaled_up():
    x = torch.randn(4, 6, dtype=torch.float64)
    x *= torch.tensor([0.0, 0.3, 0.99, 1.01])[:, None] * SHORTEST / x.norm(dim=-1, keepdim=True)
    assert_same(rms_norm, plain_rms_norm, [x])


@every_dtype
@pytest.mark.parametrize("shape", [(2, 7, 64), (1, 1, 2), (33, 10)])
def test_swiglu(shape: tuple[int, ...], dtype: torch.dtype):
    assert_same(swiglu, plain_swiglu, [3 * torch.randn(shape).to(dtype)])


@every_dtype
@pytest.mark.parametrize("batch", [1, 3])
def test_qk_rope(batch: int, dtype: torch.dtype):
    qk_BNHD, gain_H = torch.randn(3, 9, 5, 16).to(dtype), (torch.rand(5) + 0.5).double()
    gain_H = gain_H.to(torch.promote_types(dtype, torch.float32))
    qk_BNHD[0, 0] = 0
    qk_BNHD[1, 1] *= 0.1 * SHORTEST
    angle_BN1P = 9 * torch.randn(batch, 9, 1, 8, dtype=torch.float64)
    cos, sin = angle_BN1P.cos().repeat(1, 1, 1, 2), torch.cat([-angle_BN1P.sin(), angle_BN1P.sin()], dim=-1)
    cos, sin = cos.to(dtype), sin.to(dtype)
    turn = lambda run: lambda qk, gain: run(qk, gain, cos.to(qk.dtype), sin.to(qk.dtype))  # noqa: E731
    assert_same(turn(qk_rope), turn(reference_qk_rope), [qk_BNHD, gain_H])


def test_a_gradient_of_the_gradient_is_refused():
    x = torch.randn(2, 8, requires_grad=True)
    (first,) = torch.autograd.grad(rms_norm(x).pow(4).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
