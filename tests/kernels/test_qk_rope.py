"""QK-norm and rotary positions: the kernel against the same in PyTorch, in float64."""

import pytest
import torch
from torch import Tensor

from videogpt_kernels import qk_rope
from videogpt_kernels.triton_qk_rope import _qk_rope

# B sequences, N rows, H heads, D channels of a head
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NORMS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}


def turns(rows: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    angle_BN1P = 9 * torch.randn(batch, rows, 1, width // 2, device=DEVICE)
    cos, sin = angle_BN1P.cos(), angle_BN1P.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def out_and_gradients(qk: Tensor, gain: Tensor, cos: Tensor, sin: Tensor, impl: str) -> list[Tensor]:
    leaves = [qk.detach().requires_grad_(), gain.detach().requires_grad_()]
    out = qk_rope(*leaves, cos.to(qk.dtype), sin.to(qk.dtype), impl=impl)
    up = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).mul(9).cos().view(out.shape).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def assert_agrees(qk: Tensor, cos: Tensor, sin: Tensor) -> None:
    gain = torch.rand(qk.shape[2], device=DEVICE) + 0.5
    # The angles as the kernel reads them: rounding them is not its doing.
    cos, sin = cos.to(qk.dtype), sin.to(qk.dtype)
    exact = out_and_gradients(qk.double(), gain.double(), cos.double(), sin.double(), "torch")
    for x, y in zip(out_and_gradients(qk, gain, cos, sin, "triton"), exact, strict=True):
        assert not x.isnan().any()
        assert float((x.double() - y).norm() / y.norm()) < NORMS[qk.dtype]


@pytest.mark.parametrize("dtype", NORMS, ids=str)
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
def test_agrees_with_float64(dtype: torch.dtype, rows: int):
    assert_agrees(torch.randn(2, rows, 3, 16, device=DEVICE).to(dtype), *turns(rows, 16, batch=2))


@pytest.mark.parametrize("width", [2, 8, 40, 64, 96, 256])
def test_agrees_for_every_width(width: int):
    assert_agrees(torch.randn(2, 20, 3, width, device=DEVICE), *turns(20, width))


def test_strides_do_not_matter():
    for qk in (
        torch.randn(2, 4, 20, 16).transpose(1, 2),
        torch.randn(2, 20, 4, 32)[..., ::2],
        torch.randn(2, 20, 6, 16)[:, :, 1:5],
    ):
        assert_agrees(qk.to(DEVICE), *turns(20, 16))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_rows_of_zeros_stay_zero_and_have_finite_gradients(impl: str):
    qk = torch.randn(1, 5, 2, 16, device=DEVICE)
    qk[0, 2] = 0
    out, dqk, dgain = out_and_gradients(qk, torch.ones(2, device=DEVICE), *turns(5, 16), impl)
    assert not out[0, 2].any() and all(x.isfinite().all() for x in (out, dqk, dgain))


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_scale_and_turn_are_what_they_say(impl: str):
    qk, gain = torch.randn(2, 9, 3, 16, device=DEVICE), torch.tensor([0.5, 1.0, 2.0], device=DEVICE)
    out = qk_rope(qk, gain, *turns(9, 16), impl=impl)
    torch.testing.assert_close(out.square().mean(-1).sqrt(), gain.expand(2, 9, 3))
    ones = torch.ones(1, 9, 1, 16, device=DEVICE)
    unturned = qk_rope(qk, gain, ones, 0 * ones, impl=impl)
    along = torch.nn.functional.cosine_similarity(unturned, qk, dim=-1)
    torch.testing.assert_close(along, torch.ones_like(along))


def test_angles_that_want_gradients_get_them():
    qk, gain = torch.randn(2, 5, 3, 16, device=DEVICE), torch.ones(3, device=DEVICE)
    cos, sin = (x.requires_grad_() for x in turns(5, 16))
    qk_rope(qk, gain, cos, sin).sum().backward()
    assert cos.grad is not None and sin.grad is not None and bool(cos.grad.any() and sin.grad.any())
    with pytest.raises(ValueError, match="the kernel has no gradient of angles"):
        qk_rope(qk, gain, cos, sin, impl="triton")


def test_operators_are_registered_as_torch_wants_them():
    qk, gain = (x.to(DEVICE).requires_grad_() for x in (torch.randn(2, 9, 3, 16), torch.ones(3)))
    torch.library.opcheck(_qk_rope, (qk, gain, *turns(9, 16)))


@pytest.mark.parametrize(
    "change, word",
    [
        ({"gain": torch.ones(2)}, "one gain per head"),
        ({"qk": torch.zeros(1, 5, 3, 7)}, "an even width"),
        ({"cos": torch.zeros(1, 4, 1, 8)}, "cos, sin are of shape"),
        ({"impl": "fast"}, "choose auto, triton, torch"),
        ({"impl": "triton", "qk": torch.zeros(1, 5, 3, 8, device="meta")}, "the device is meta; choose auto"),
        ({"impl": "triton", "qk": torch.zeros(1, 5, 3, 8, dtype=torch.float64)}, "computes in float32; choose auto"),
    ],
)
def test_misfits_are_refused_by_name(change: dict, word: str):
    turn = torch.zeros(1, 5, 1, 8)
    given = {"qk": torch.zeros(1, 5, 3, 8), "gain": torch.ones(3), "cos": turn, "sin": turn} | change
    qk, gain, cos, sin = (given.pop(key) for key in ("qk", "gain", "cos", "sin"))
    with pytest.raises(ValueError, match=word):
        qk_rope(qk, gain, cos, sin, **given)
