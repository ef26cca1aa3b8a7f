"""The Triton kernels on a GPU, at the sizes they are for, on random inputs that are new each time."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from videogpt_kernels import Document, LayerPool, Step, TileWindow, Visibility, attention, decode_attention
from videogpt_kernels.write_cache import store_rows, write_cache

pytestmark = pytest.mark.gpu
NORMS = {torch.float16: 1e-3, torch.bfloat16: 5e-3}
VISIBILITIES = {
    "causal": lambda: Visibility.causal(2),
    "prefix and last 4 frames": lambda: Visibility.prefix_body(
        torch.tensor([50, 128], dtype=torch.int32), 128, frame_tokens=256, window_frames=4
    ),
    "block-causal": lambda: Visibility.prefix_body(
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


WINDOW = TileWindow(tile_tokens=64, tiles_high=2, tiles_wide=2, reach_high=0, reach_wide=1)
DECODED = {
    "causal": ({}, 4096),
    "last 4 frames, in a ring": ({"frame_tokens": 256, "window_frames": 4}, 4 * 256 + 64),
    "tile window": ({"frame_tokens": 256, "window_frames": 4, "tile_window": WINDOW}, 4096),
}


def cache_of(
    name: str, held: int, rows: int, dtype: torch.dtype, width: int, quantized: bool
) -> tuple[list[torch.Tensor], LayerPool, Step]:
    """Keys and values of two sequences as they are, and a cache of them, ready for `rows` new rows behind `held`."""
    rules, ring_rows = DECODED[name]
    visibility = Visibility.prefix_body(torch.tensor([50, 128], dtype=torch.int32), 128, **rules).to("cuda")
    k, v = torch.randn(2, 2, 2, held + rows, width, device="cuda", dtype=dtype)
    room = {"slots": 2 * (128 + ring_rows), "width": width, "dtype": torch.int8 if quantized else dtype}
    pool = LayerPool.empty(key_heads=2, device="cuda", **room)

    def step(start: int, rows: int) -> Step:
        table = [[start, b * (128 + ring_rows), b * (128 + ring_rows) + 128] for b in range(2)]
        places_B3 = torch.tensor(table, dtype=torch.int32, device="cuda")
        sizes = {"prompt_rows": 128, "ring_rows": ring_rows}
        return Step(rows=rows, lengths=(start, start), places_B3=places_B3, visibility=visibility, **sizes)

    for start in range(0, held + rows, 128):
        end = min(start + 128, held + rows)
        store_rows(k[:, :, start:end], v[:, :, start:end], pool, step(start, end - start))
    return [k, v], pool, step(held, rows)


@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("rows", [1, 24, 64])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("dtype", NORMS, ids=str)
def test_decoding_agrees_at_real_sizes(name: str, rows: int, width: int, quantized: bool, dtype: torch.dtype):
    torch.seed()
    (k, v), pool, step = cache_of(name, 3000, rows, dtype, width, quantized)
    q = torch.randn(2, 8, rows, width, device="cuda", dtype=dtype)
    found = decode_attention(q, pool, step, impl="triton")
    exact = attention(q.float(), k.float(), v.float(), step.visibility, query_start=3000, impl="reference")
    assert not found.isnan().any()
    assert float((found.float() - exact).norm() / exact.norm()) < (2e-2 if quantized else NORMS[dtype])


@pytest.mark.parametrize("quantized", [False, True])
def test_one_captured_graph_serves_every_length(quantized: bool):
    torch.seed()
    _, pool, step = cache_of("last 4 frames, in a ring", 128, 1, torch.bfloat16, 64, quantized)
    qkv = torch.randn(2, 1, 12, 64, device="cuda", dtype=torch.bfloat16)
    gain, turn = torch.ones(10, device="cuda"), torch.ones(1, 1, 1, 64, device="cuda", dtype=torch.bfloat16)

    def decode(given: torch.Tensor, into: LayerPool, places_B3: torch.Tensor) -> torch.Tensor:
        now = replace(step, places_B3=places_B3)
        q = write_cache(given, gain, turn, turn, into, now, impl="triton")
        return decode_attention(q, into, now, impl="triton")

    other, another = (LayerPool(*(None if x is None else x.clone() for x in pool)) for _ in range(2))
    places_B3 = step.places_B3.clone()
    decode(qkv, another, places_B3)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = decode(qkv, pool, places_B3)
    for length in range(128, 128 + 1400):  # more than a round of the ring
        qkv.normal_()
        places_B3[:, 0] = length
        graph.replay()
        assert out.equal(decode(qkv, other, places_B3)), length


TOUCHED = """
import torch
from videogpt_kernels import Document, LayerPool, Step, Visibility, attention, decode_attention, qk_rope, write_cache
for rows, width in ((1, 64), (65, 40), (130, 128)):
    visibility = Visibility.packed([[Document(3, 20), Document(0, 31)]], frame_tokens=7, window_frames=2).to("cuda")
    q, k, v = (torch.randn(1, h, rows, width, device="cuda").half().requires_grad_() for h in (2, 1, 1))
    turns = torch.randn(2, 1, rows, 1, width, device="cuda").half()
    qk = qk_rope(q.transpose(1, 2), torch.ones(2, device="cuda"), *turns)
    (attention(q, k, v, visibility, impl="triton").sum() + qk.sum()).backward()
for rows, width, dtype in ((1, 64, torch.half), (9, 40, torch.int8), (40, 128, torch.half)):
    pool = LayerPool.empty(key_heads=1, slots=50, width=width, dtype=dtype, device="cuda")
    places_B3 = torch.tensor([[77, 0, 5]], dtype=torch.int32, device="cuda")
    prefix_B = torch.tensor([3], dtype=torch.int32, device="cuda")
    visibility = Visibility.prefix_body(prefix_B, 5, frame_tokens=2, window_frames=2)
    step = Step(rows=rows, lengths=(77,), places_B3=places_B3, prompt_rows=5, ring_rows=45, visibility=visibility)
    qkv = torch.randn(1, rows, 6, width, device="cuda").half()
    turns = torch.randn(2, 1, rows, 1, width, device="cuda").half()
    q = write_cache(qkv, torch.ones(5, device="cuda"), *turns, pool, step, impl="triton")
    decode_attention(q, pool, step, impl="triton")
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
