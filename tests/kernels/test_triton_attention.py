"""The operators of Triton: as torch wants them, refused where they cannot run, and in two processes.

What they compute is held against float64 in `test_attention.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogpt_kernels import Document, TileWindow, Visibility, attention, triton_attention
from videogpt_kernels.launches import launches_for
from videogpt_kernels.triton_attention import _attention, _launches, _plan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def window(tile_tokens: int, tiles_high: int) -> dict[str, object]:
    frame = {"tile_tokens": tile_tokens, "tiles_high": tiles_high, "tiles_wide": 1}
    return {"frame_tokens": tile_tokens * tiles_high, "tile_window": TileWindow(**frame, reach_high=0, reach_wide=0)}


def test_a_tile_window_without_common_tiles_is_refused():
    q, k, v = torch.randn(3, 1, 1, 40, 16, device=DEVICE)
    prefix_B = torch.tensor([13], dtype=torch.int32)
    for visibility, word in (
        (Visibility.packed([[Document(8, 13)]], **window(32, 2)), "cannot run here: tile_window with packed documents"),
        (Visibility.prefix_body(prefix_B, 13, **window(6, 1)), "tile_tokens is 6, no multiple of 16"),
    ):
        with pytest.raises(ValueError, match=word):
            attention(q, k, v, visibility.to(DEVICE), impl="triton")


def test_operators_are_registered_as_torch_wants_them():
    q, k, v = (torch.randn(2, heads, 20, 16, device=DEVICE, requires_grad=True) for heads in (2, 1, 1))
    visibility = Visibility.prefix_body(torch.tensor([6, 3], dtype=torch.int32), 6).to(DEVICE)
    torch.library.opcheck(_attention, (q, k, v, *_plan(visibility, 0, 20, 20, _launches(q, 0)), 0.25))


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


def test_without_triton_it_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "videogpt_kernels.triton_attention", None)
    x = torch.zeros(2, 1, 9, 16)
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
def test_gradients_of_two_processes_are_averaged(tmp_path: Path, in_two_processes: Callable[..., None]):
    in_two_processes(ONE_OF_TWO, tmp_path / "gradient.pt")
    weight, x, found = torch.load(tmp_path / "gradient.pt", weights_only=True)
    q, k, v = (x @ weight.requires_grad_().T)[:, None].chunk(3, dim=-1)
    attention(q, k, v, Visibility.causal(2), impl="reference").square().mean().backward()
    torch.testing.assert_close(found, weight.grad)
