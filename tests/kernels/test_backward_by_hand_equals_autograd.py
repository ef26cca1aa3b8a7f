"""Backward passes written by hand against those that autograd makes of the plain operations."""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor

from videogpt_kernels import Document, Visibility, attention, qk_rope, rms_norm, swiglu
from videogpt_kernels.reference import SHORTEST, reference_qk_rope, reference_rms_norm, reference_swiglu

# B sequences, N rows, H heads, D channels

NEAR = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 0.0}
every_dtype = pytest.mark.parametrize("dtype", NEAR, ids=str)


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
    assert_same(rms_norm, reference_rms_norm, [torch.randn(shape).to(dtype)])


def test_rms_norm_of_rows_that_are_too_short_to_be_scaled_up():
    x = torch.randn(4, 6, dtype=torch.float64)
    x *= torch.tensor([0.0, 0.3, 0.99, 1.01])[:, None] * SHORTEST / x.norm(dim=-1, keepdim=True)
    assert_same(rms_norm, reference_rms_norm, [x])


@every_dtype
@pytest.mark.parametrize("shape", [(2, 7, 64), (1, 1, 2), (33, 10)])
def test_swiglu(shape: tuple[int, ...], dtype: torch.dtype):
    assert_same(swiglu, reference_swiglu, [3 * torch.randn(shape).to(dtype)])


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


def turned(qk_BNHD: Tensor) -> Tensor:
    angle_BN1P = torch.arange(qk_BNHD.shape[1] * 8, dtype=torch.float64).view(1, -1, 1, 8)
    cos, sin = angle_BN1P.cos().repeat(1, 1, 1, 2), torch.cat([-angle_BN1P.sin(), angle_BN1P.sin()], dim=-1)
    return qk_rope(qk_BNHD, torch.ones(qk_BNHD.shape[2]), cos.to(qk_BNHD.dtype), sin.to(qk_BNHD.dtype))


def in_blocks(x_BHMD: Tensor) -> Tensor:
    """Of two documents, over more rows than one block has."""
    return attention(x_BHMD, x_BHMD, x_BHMD, Visibility.packed([[Document(2, 60), Document(0, 90)]]), impl="row_blocks")


def plainly(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """With the backward pass that autograd makes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("qk_rope", "rms_norm", "row_blocks", "swiglu"):
            patch.setattr(import_module(f"videogpt_kernels.{name}"), "wants_backward", lambda *_: False)
        return run(x)


FUNCTIONS = {
    "rms_norm": (rms_norm, (2, 5, 12)),
    "swiglu": (swiglu, (2, 5, 12)),
    "qk_rope": (turned, (2, 5, 3, 16)),
    "row_blocks": (in_blocks, (1, 2, 152, 16)),
}
every_function = pytest.mark.parametrize(("run", "shape"), FUNCTIONS.values(), ids=FUNCTIONS)
Run = Callable[[Tensor], Tensor]


def gradient(run: Run, x: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(run(leaf).float().pow(4).sum(), leaf)[0]


@every_function
def test_the_backward_pass_by_hand_is_the_one_that_runs(run: Run, shape: tuple[int, ...]):
    x = torch.randn(shape, requires_grad=True)
    names = [type(run(x).grad_fn).__name__, type(plainly(run, x).grad_fn).__name__]
    assert names[0] != names[1] and names[0].startswith("_")


@every_function
def test_any_strides_of_the_gradient_will_do(run: Run, shape: tuple[int, ...]):
    x = torch.randn(shape, requires_grad=True)
    out, plain = run(x), plainly(run, x)
    every_second = torch.randn(*out.shape[:-1], 2 * out.shape[-1])[..., ::2]
    for given in (torch.randn(()).expand(out.shape), every_second):
        kept = {"retain_graph": True}
        found, expected = (torch.autograd.grad(each, x, given, **kept) for each in (out, plain))
        torch.testing.assert_close(found, expected)


@every_function
def test_a_gradient_of_the_gradient_is_refused(run: Run, shape: tuple[int, ...]):
    x = torch.randn(shape, requires_grad=True)
    (first,) = torch.autograd.grad(run(x).pow(4).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@every_function
def test_transforms_of_functions_differentiate_the_plain_operations(run: Run, shape: tuple[int, ...]):
    x = torch.randn(shape)
    loss = lambda x: run(x).pow(4).sum()  # noqa: E731
    torch.testing.assert_close(torch.func.grad(loss)(x), gradient(run, x))
    second = torch.func.grad(lambda x: torch.func.grad(loss)(x).pow(2).sum())(x)
    assert second.isfinite().all() and second.any()
    along = torch.func.jvp(loss, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(along, gradient(run, x).sum(), rtol=1e-3, atol=1e-3)


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("places", [(True, False), (True, True), (False, True)], ids=str)
def test_autocast_may_be_on_in_either_pass(
    run: Run, shape: tuple[int, ...], dtype: torch.dtype, places: tuple[bool, bool]
):
    """A gradient has the type of what it belongs to, and is as near as the forward pass is."""
    x = torch.randn(shape)
    leaf = x.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=places[0]):
        loss = run(leaf).float().pow(4).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=places[1]):
        (found,) = torch.autograd.grad(loss, leaf)
    exact = gradient(lambda x: plainly(run, x), leaf.detach().double())
    assert found.dtype == dtype
    near = 1e-5 if dtype == torch.float32 and not places[0] else 0.02
    assert float((found.double() - exact).norm()) <= near * float(exact.norm())


@every_function
@pytest.mark.slow
def test_compiled_it_is_the_same(run: Run, shape: tuple[int, ...]):
    pytest.importorskip("torch._inductor")
    x = torch.randn(shape)
    torch.testing.assert_close(
        gradient(torch.compile(run, fullgraph=run is not in_blocks), x), gradient(run, x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("run", [rms_norm, swiglu])
def test_tensors_without_memory_have_gradients(run: Run):
    x = torch.ones(3, 8, device="meta", requires_grad=True)
    run(x).sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="x has 5 channels: give an even number"):
        swiglu(torch.ones(2, 5))
