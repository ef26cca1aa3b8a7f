"""The Triton kernels on a GPU, at the sizes they are for, on random inputs that are new each time."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from videogpt_kernels import Document, Visibility, attention

pytestmark = pytest.mark.gpu
NORMS = {torch.float16: 1e-3, torch.bfloat16: 5e-3}
VISIBILITIES = {
    "causal": lambda: Visibility.causal(2),
    "prefix and last 4 frames": lambda: Visibility.text_video(
        torch.tensor([50, 128], dtype=torch.int32), 128, frame_tokens=256, window_frames=4
    ),
    "block-causal": lambda: Visibility.text_video(
        torch.tensor([0, 99], dtype=torch.int32), 128, frame_tokens=256, bidirectional_frames=True
    ),
    "documents": lambda: Visibility.packed(
        [[Document(30, 700), Document(77, 1300), Document(5, 1900)], [Document(64, 2500), Document(0, 900)]],
        frame_tokens=64,
        window_frames=8,
    ),
}


@pytest.mark.parametrize("name", VISIBILITIES)
@pytest.mark.parametrize("width", [32, 64, 128, 256])
@pytest.mark.parametrize("dtype", NORMS, ids=str)
def test_agrees_at_real_sizes(name: str, width: int, dtype: torch.dtype):
    torch.seed()
    visibility, rows = VISIBILITIES[name]().to("cuda"), 4224
    q, k, v = (torch.randn(2, heads, rows, width, device="cuda", dtype=dtype) for heads in (4, 2, 2))
    up = torch.randn_like(q)

    def out_and_gradients(exact: torch.dtype, impl: str) -> list[torch.Tensor]:
        leaves = [x.to(exact).requires_grad_() for x in (q, k, v)]
        out = attention(*leaves, visibility, impl=impl)
        return [out.detach(), *torch.autograd.grad(out, leaves, up.to(exact))]

    expected = out_and_gradients(torch.float32, "reference")
    for x, y in zip(out_and_gradients(dtype, "triton"), expected, strict=True):
        assert not x.isnan().any()
        assert float((x.float() - y).norm() / y.norm()) < NORMS[dtype]


def test_the_same_inputs_give_the_same_bits_at_real_sizes():
    torch.seed()
    visibility = VISIBILITIES["documents"]().to("cuda")
    leaves = [torch.randn(2, h, 4224, 64, device="cuda").bfloat16().requires_grad_() for h in (8, 2, 2)]
    runs = []
    for _ in range(5):
        out = attention(*leaves, visibility, impl="triton")
        runs.append([out.detach(), *torch.autograd.grad(out.float().square().sum(), leaves)])
    assert all(x.equal(y) for run in runs[1:] for x, y in zip(run, runs[0], strict=True))


def test_auto_takes_triton_and_compiles():
    visibility = Visibility.causal(1, "cuda")
    q, k, v = (torch.randn(1, 2, 300, 64, device="cuda").bfloat16() for _ in range(3))
    compiled = torch.compile(lambda *x: attention(*x, visibility), fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), attention(q, k, v, visibility, impl="triton"))


TOUCHED = """
import torch
from videogpt_kernels import Document, Visibility, attention, qk_rope
for rows, width in ((1, 64), (65, 40), (130, 128)):
    visibility = Visibility.packed([[Document(3, 20), Document(0, 31)]], frame_tokens=7, window_frames=2).to("cuda")
    q, k, v = (torch.randn(1, h, rows, width, device="cuda").half().requires_grad_() for h in (2, 1, 1))
    qk = qk_rope(q, torch.ones(rows, device="cuda"), *torch.randn(2, 1, 2, 1, width, device="cuda").half())
    (attention(q, k, v, visibility, impl="triton").sum() + qk.sum()).backward()
torch.cuda.synchronize()
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="compute-sanitizer is not installed")
def test_no_memory_is_touched_that_is_not_ours(tool: str):
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", TOUCHED]
    # Of one large block, handed out in parts, the tool would see no overrun.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
