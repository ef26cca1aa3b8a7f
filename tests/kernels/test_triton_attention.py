"""The Triton kernels against attention in float64: compiled where there is a GPU, else in Triton's interpreter."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from videogpt_kernels import Document, TileWindow, Visibility, attention, triton_attention
from videogpt_kernels.launches import launches_for
from videogpt_kernels.triton_attention import _attention, _launches, _plan

# B batch, H query heads, G key heads, N rows, D head dimension
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTHS = (1, 15, 63, 64, 65, 127, 128, 129, 275)
NORMS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}


def with_prefix(length: int, **rules) -> Visibility:
    """Two sequences: one with padding, one whose text fills its region."""
    body_start = length // 3
    return Visibility.prefix_body(torch.tensor([body_start // 2, body_start], dtype=torch.int32), body_start, **rules)


def with_documents(length: int, **rules) -> Visibility:
    """Two packed sequences: of documents shorter than a tile, and of longer ones; both end with padding."""
    short = [Document(2, 9), Document(0, 5), Document(11, 0), Document(4, 20)]
    long = [Document(length // 5, length // 3), Document(3, length // 4)]
    return Visibility.packed([short, long], **rules)


def window(tiles_high: int, tiles_wide: int, reach: int) -> TileWindow:
    return TileWindow(tile_tokens=32, tiles_high=tiles_high, tiles_wide=tiles_wide, reach_high=reach, reach_wide=reach)


VISIBILITIES: dict[str, Callable[[int], Visibility]] = {
    "causal": lambda length: Visibility.causal(2),
    "prefix": with_prefix,
    "bidirectional prefix": partial(with_prefix, bidirectional_prefix=True),
    "frames": partial(with_prefix, frame_tokens=7, bidirectional_frames=True),
    "window": partial(with_prefix, frame_tokens=16, frame_offset=0, window_frames=2),
    "documents": with_documents,
    "window in documents": partial(
        with_documents, frame_tokens=6, window_frames=2, bidirectional_frames=True, bidirectional_prefix=True
    ),
    "tile window": partial(with_prefix, frame_tokens=64, window_frames=2, tile_window=window(2, 1, reach=0)),
    "tile window, both ways": partial(
        with_prefix, frame_tokens=64, bidirectional_frames=True, tile_window=window(1, 2, reach=1)
    ),
}


def random_qkv(length: int, dtype: torch.dtype, *, heads: int = 2, key_heads: int = 1, width: int = 16) -> list[Tensor]:
    return [torch.randn(2, h, length, width).to(DEVICE, dtype) for h in (heads, key_heads, key_heads)]


def out_and_gradients(run: Callable[..., Tensor], qkv: list[Tensor]) -> list[Tensor]:
    """The output and the gradients of q, k, v for one fixed gradient of the output."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = run(*leaves)
    up = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).mul(9).cos().view(out.shape).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def triton_and_exact(qkv: list[Tensor], visibility: Visibility, **options) -> list[list[Tensor]]:
    """Output and gradients of the kernels, and those of the reference in float64."""
    seen = visibility.to(DEVICE)
    found = out_and_gradients(lambda *x: attention(*x, seen, impl="triton", **options), qkv)
    doubled = [x.double() for x in qkv]
    return [found, out_and_gradients(lambda *x: attention(*x, seen, impl="reference", **options), doubled)]


def relative_error(x: Tensor, exact: Tensor) -> float:
    assert not x.isnan().any()
    return float((x.double() - exact).norm() / exact.norm().clamp(min=1e-30))


def assert_agrees(qkv: list[Tensor], visibility: Visibility, **options) -> None:
    found, exact = triton_and_exact(qkv, visibility, **options)
    # One row: its weight is 1 whatever the scores, so the gradients of q and k are zero, relative to nothing.
    compared = slice(None) if qkv[0].shape[2] > 1 else slice(0, None, 3)
    for x, y in zip(found[compared], exact[compared], strict=True):
        assert x.dtype == qkv[0].dtype
        assert relative_error(x, y) < NORMS[qkv[0].dtype]


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel should write and does not is then seen."""
    new_empty = Tensor.new_empty

    def new_nan(self: Tensor, *args, **keywords) -> Tensor:
        made = new_empty(self, *args, **keywords)
        return made.fill_(torch.nan) if made.is_floating_point() and type(made) is Tensor else made

    monkeypatch.setattr(Tensor, "new_empty", new_nan)


@pytest.mark.parametrize("name", VISIBILITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_agrees_for_every_visibility(name: str, dtype: torch.dtype):
    length = 65 if dtype == torch.float32 else 129  # tiles of float32 are small, and time goes with their number
    assert_agrees(random_qkv(length, dtype), VISIBILITIES[name](length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", ["prefix", "window in documents"])
def test_agrees_for_every_length(name: str, length: int):
    assert_agrees(random_qkv(length, torch.float16), VISIBILITIES[name](length))


@pytest.mark.sweep
@pytest.mark.parametrize("width", [16, 64, 128])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", VISIBILITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_agrees_for_all_of_them(dtype: torch.dtype, name: str, length: int, width: int):
    assert_agrees(random_qkv(length, dtype, heads=4, key_heads=2, width=width), VISIBILITIES[name](length))


@pytest.mark.parametrize("width", [8, 32, 40, 64, 80, 128, 256])
def test_agrees_for_every_width(width: int):
    assert_agrees(random_qkv(70, torch.float16, width=width), VISIBILITIES["window"](70))


@pytest.mark.parametrize("heads, key_heads", [(1, 1), (4, 1), (4, 2), (8, 1)])
def test_query_heads_share_key_heads(heads: int, key_heads: int):
    # In 16 bits: time goes with the number of tiles, and those of float32 are small.
    assert_agrees(random_qkv(66, torch.float16, heads=heads, key_heads=key_heads), VISIBILITIES["prefix"](66))


@pytest.mark.parametrize("name", VISIBILITIES)
def test_bfloat16_is_as_good_as_eager(name: str):
    visibility, qkv = VISIBILITIES[name](129), random_qkv(129, torch.bfloat16, key_heads=2, width=64)
    hidden_B1NN = ~visibility.dense(0, 129, 129)[:, None].to(DEVICE)

    def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * 0.125).masked_fill(hidden_B1NN, float("-inf")).softmax(dim=-1) @ v

    found, exact = triton_and_exact(qkv, visibility)
    for x, y, z in zip(found, out_and_gradients(eager, qkv), exact, strict=True):
        assert relative_error(x, z) <= 2 * relative_error(y, z)


@pytest.mark.parametrize("name", ["window", "documents"])
def test_gradients_are_those_of_the_function(name: str):
    q, k, v = (x.requires_grad_() for x in random_qkv(21, torch.float64, width=8))
    visibility = VISIBILITIES[name](21).to(DEVICE)
    assert torch.autograd.gradcheck(lambda *x: attention(*x, visibility, impl="triton"), (q, k, v), fast_mode=True)


@pytest.mark.parametrize("name", VISIBILITIES)
def test_rows_in_pieces_equal_the_whole(name: str):
    visibility, (q, k, v) = VISIBILITIES[name](100).to(DEVICE), random_qkv(100, torch.float32)
    whole = attention(q, k, v, visibility, impl="reference")
    bounds = [0, 1, 30, 33, 34, 99, 100]
    pieces = [
        attention(q[:, :, start:stop], k, v, visibility, query_start=start, impl="triton")
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=1e-5, atol=1e-5)


def test_a_tile_window_without_common_tiles_is_refused():
    q, k, v = random_qkv(40, torch.float32)
    visibility = with_documents(40, frame_tokens=64, tile_window=window(2, 1, reach=0))
    with pytest.raises(ValueError, match="cannot run here: tile_window with packed documents"):
        attention(q, k, v, visibility.to(DEVICE), impl="triton")
    odd = TileWindow(tile_tokens=6, tiles_high=1, tiles_wide=1, reach_high=0, reach_wide=0)
    with pytest.raises(ValueError, match="tile_tokens is 6, no multiple of 16"):
        attention(q, k, v, with_prefix(40, frame_tokens=6, tile_window=odd).to(DEVICE), impl="triton")


def test_what_lies_behind_the_last_row_is_never_read():
    visibility, (q, k, v) = VISIBILITIES["window"](90).to(DEVICE), random_qkv(90, torch.float32)
    expected = attention(q, k, v, visibility, impl="reference")[:, :, :70]
    unwritten = [torch.nn.functional.pad(x[:, :, :70], (0, 0, 0, 50), value=torch.nan)[:, :, :70] for x in (k, v)]
    found = attention(q[:, :, :70], *unwritten, visibility, impl="triton")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_strides_do_not_matter():
    """Rows before heads, one key head for all sequences, every other channel, channels before rows."""
    half = {"device": DEVICE, "dtype": torch.float16}
    q, k = torch.randn(2, 65, 2, 16, **half).transpose(1, 2), torch.randn(1, 1, 65, 16, **half).expand(2, -1, -1, -1)
    for v in (torch.randn(2, 1, 65, 32, **half)[..., ::2], torch.randn(2, 1, 16, 65, **half).mT):
        assert_agrees([q, k, v], with_prefix(65))


def test_offsets_beyond_32_bits():
    """The second sequence lies three thousand million numbers behind the first: virtual memory, mostly untouched."""
    apart = 3 * 10**9
    storage = torch.empty(apart + 40 * 16, dtype=torch.float16, device=DEVICE)
    far = storage.as_strided((2, 1, 40, 16), (apart, 40 * 16, 16, 1))
    far.copy_(torch.randn(2, 1, 40, 16))
    q, k, v = (x.to(DEVICE) for x in torch.randn(3, 2, 1, 40, 16).half())
    for inputs in ([far, k, v], [q, far, v], [q, k, far]):
        assert_agrees(inputs, with_prefix(40))


def test_the_same_inputs_give_the_same_bits():
    visibility, qkv = with_documents(129).to(DEVICE), random_qkv(129, torch.float16)
    first, again = (out_and_gradients(lambda *x: attention(*x, visibility, impl="triton"), qkv) for _ in range(2))
    assert all(x.equal(y) for x, y in zip(first, again, strict=True))


def test_scale_is_obeyed():
    assert_agrees(random_qkv(20, torch.float32), with_prefix(20), scale=0.7)


def test_operators_are_registered_as_torch_wants_them():
    q, k, v = (x.requires_grad_() for x in random_qkv(20, torch.float32))
    plan = _plan(with_prefix(20).to(DEVICE), 0, 20, 20, _launches(q, 0))
    torch.library.opcheck(_attention, (q, k, v, *plan, 0.25))


def test_compiles_into_one_graph():
    visibility = with_prefix(20, frame_tokens=4, window_frames=2).to(DEVICE)
    qkv, compiled = random_qkv(20, torch.float32), torch.compile(attention, backend="aot_eager", fullgraph=True)
    found = out_and_gradients(lambda *x: compiled(*x, visibility, impl="triton"), qkv)
    exact = out_and_gradients(lambda *x: attention(*x, visibility, impl="reference"), qkv)
    for x, y in zip(found, exact, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_compiles_for_windows_of_several_tiles():
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    for tile_tokens in (16, 32):  # the second makes the number a symbol
        window = TileWindow(tile_tokens=tile_tokens, tiles_high=2, tiles_wide=1, reach_high=0, reach_wide=0)
        visibility = with_prefix(45, frame_tokens=window.frame_tokens, tile_window=window).to(DEVICE)
        qkv = random_qkv(45, torch.float32)
        exact = attention(*qkv, visibility, impl="reference")
        torch.testing.assert_close(compiled(*qkv, visibility, impl="triton"), exact)


def test_activation_checkpointing_changes_nothing():
    visibility, qkv = with_prefix(20).to(DEVICE), random_qkv(20, torch.float32)

    def run(*x: Tensor) -> Tensor:
        return attention(*x, visibility, impl="triton")

    plain = out_and_gradients(run, qkv)
    found = out_and_gradients(lambda *x: checkpoint(run, *x, use_reentrant=False), qkv)
    assert all(x.equal(y) for x, y in zip(found, plain, strict=True))


def test_layers_share_a_plan(monkeypatch: pytest.MonkeyPatch):
    visibility, qkv, planned = with_prefix(20).to(DEVICE), random_qkv(20, torch.float32), []
    intervals = Visibility.intervals
    monkeypatch.setattr(Visibility, "intervals", lambda *args: planned.append(args) or intervals(*args))
    for _ in range(2):
        attention(*qkv, visibility, impl="triton")
    assert len(planned) == 1


@pytest.mark.parametrize("width", [8, 64, 100, 256])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_architecture_has_launches(width: int, dtype: torch.dtype):
    for architecture in ("sm_80", "sm_90", "sm_100", "gfx942"):
        launches = launches_for(architecture, width, dtype)
        for launch in launches:
            constants = launch.constants(width)
            assert constants["WIDTH"] >= width and min(launch.tile) >= 16


@pytest.mark.parametrize(
    "change, word",
    [
        ({"dtype": torch.float8_e4m3fn}, "q is torch.float8_e4m3fn"),
        ({"width": 264}, "width 264, above 256"),
        ({"width": 136, "dtype": torch.float64}, "torch.float64 with heads of width 136, above 128"),
        ({"heads": 40_000}, "2 x 40000 heads, above 65535 in all"),
        ({"device": "meta"}, "the device is meta"),
    ],
)
def test_what_cannot_run_is_refused_with_its_reason(change: dict, word: str):
    given = {"heads": 1, "width": 16, "device": DEVICE} | change
    x = torch.empty((2, given.pop("heads"), 9, given.pop("width")), **given)
    with pytest.raises(ValueError, match=f"impl is 'triton', which cannot run here: .*{word}"):
        attention(x, x, x, Visibility.causal(2, x.device), impl="triton")


@pytest.mark.skipif(DEVICE == "cuda", reason="without a GPU the interpreter is another thing")
def test_without_the_interpreter_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton_attention, "INTERPRETED", False)
    x = torch.zeros(2, 1, 9, 16)
    with pytest.raises(ValueError, match="the device is cpu; choose auto"):
        attention(x, x, x, Visibility.causal(2), impl="triton")


def test_without_triton_attention_still_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "videogpt_kernels.triton_attention", None)
    x = torch.zeros(2, 1, 9, 16)
    assert attention(x, x, x, Visibility.causal(2)).shape == x.shape
    with pytest.raises(ValueError, match="Triton cannot be imported"):
        attention(x, x, x, Visibility.causal(2), impl="triton")


ONE_OF_TWO = """
import sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from videogpt_kernels import Visibility, attention

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 48, bias=False)
    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        return attention(q, k, v, Visibility.causal(1), impl="triton")

distributed.init_process_group("gloo")
torch.manual_seed(0)
layer, x = Layer(), torch.randn(2, 20, 8)
parallel = DistributedDataParallel(layer)
rank = distributed.get_rank()
parallel(x[rank : rank + 1]).square().mean().backward()
if rank == 0:
    torch.save((layer.qkv.weight.detach(), x, layer.qkv.weight.grad), sys.argv[1])
distributed.destroy_process_group()
"""


@pytest.mark.skipif(DEVICE == "cuda", reason="the two processes run in the interpreter")
def test_gradients_of_two_processes_are_averaged(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", ONE_OF_TWO, str(tmp_path / "gradient.pt")]
    processes = [subprocess.Popen(command, env=common | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    weight, x, found = torch.load(tmp_path / "gradient.pt", weights_only=True)
    q, k, v = (x @ weight.requires_grad_().T)[:, None].chunk(3, dim=-1)
    attention(q, k, v, Visibility.causal(2), impl="reference").square().mean().backward()
    torch.testing.assert_close(found, weight.grad)
