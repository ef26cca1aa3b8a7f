"""Every implementation against softmax attention in float64, forward and backward, on awkward shapes."""

import logging
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from videogpt_kernels import Document, TileWindow, Visibility, attention
from videogpt_kernels.attention import _report
from videogpt_kernels.row_blocks import why_not_row_blocks

# B batch, H query heads, G key heads, N rows, D head dimension
LENGTHS = (1, 15, 63, 64, 65, 127, 128, 129, 275)
IMPLS = ("row_blocks", "sdpa", "reference")
TILES = TileWindow(tile_tokens=4, tiles_high=2, tiles_wide=3, reach_high=0, reach_wide=1)


def with_prefix(length: int, **settings) -> Visibility:
    """Three sequences: one without text, one with padding, one whose text fills its region."""
    body_start = length // 3
    prefix_B = torch.tensor([0, body_start // 2, body_start], dtype=torch.int32)
    return Visibility.prefix_body(prefix_B, body_start, **settings)


def with_documents(length: int, **settings) -> Visibility:
    """Three packed sequences: of short documents, of long ones, of none; padding ends all."""
    short = [Document(2, 9), Document(0, 5), Document(11, 0), Document(4, 20)]
    long = [Document(length // 5, length // 3), Document(3, length // 4)]
    return Visibility.packed([short, long, []], **settings)


VISIBILITIES: dict[str, Callable[[int], Visibility]] = {
    "causal": lambda length: Visibility.causal(3),
    "prefix": with_prefix,
    "bidirectional prefix": partial(with_prefix, bidirectional_prefix=True),
    "frames": partial(with_prefix, frame_tokens=7, bidirectional_frames=True),
    "window": partial(with_prefix, frame_tokens=7, window_frames=2),
    "window of frames": partial(
        with_prefix, frame_tokens=16, frame_offset=0, window_frames=3, bidirectional_frames=True
    ),
    "documents": with_documents,
    "tile window": partial(with_prefix, frame_tokens=24, window_frames=2, tile_window=TILES),
    "window in documents": partial(with_documents, frame_tokens=6, window_frames=2, bidirectional_prefix=True),
}
every_impl = pytest.mark.parametrize("impl", IMPLS)
every_visibility = pytest.mark.parametrize("name", VISIBILITIES)


def random_qkv(length: int, *, heads: int = 4, key_heads: int = 2, width: int = 16, batch: int = 3) -> list[Tensor]:
    return [torch.randn(batch, h, length, width) for h in (heads, key_heads, key_heads)]


def out_and_gradients(run: Callable[..., Tensor], qkv: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The output and the gradients of q, k, v, computed in `dtype`, for one fixed gradient of the output."""
    leaves = [x.to(dtype).detach().requires_grad_() for x in qkv]
    out = run(*leaves)
    up = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).cos().view(out.shape).to(dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def relative_error(x: Tensor, exact: Tensor) -> float:
    assert not x.isnan().any()
    return float((x.double() - exact).norm() / exact.norm().clamp(min=1e-30))


@every_impl
@every_visibility
@pytest.mark.parametrize("length", LENGTHS)
def test_agrees_with_float64(impl: str, name: str, length: int):
    visibility, qkv = VISIBILITIES[name](length), random_qkv(length)
    exact = out_and_gradients(lambda *x: attention(*x, visibility, impl="reference"), qkv, torch.float64)
    found = out_and_gradients(lambda *x: attention(*x, visibility, impl=impl), qkv, torch.float32)
    # One row: its weight is 1 whatever the scores, so those of q and k are zero and relative to nothing.
    compared = slice(None) if length > 1 else slice(0, None, 3)
    for x, y in zip(found[compared], exact[compared], strict=True):
        assert relative_error(x, y) < 1e-5


@every_visibility
@pytest.mark.parametrize("impl", ["row_blocks", "sdpa"])
def test_bfloat16_is_as_good_as_eager(impl: str, name: str):
    visibility, qkv = VISIBILITIES[name](129), random_qkv(129, key_heads=4, width=64)
    qkv = [x.bfloat16() for x in qkv]
    hidden_B1NN = ~visibility.dense(0, 129, 129)[:, None]

    def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * 0.125).masked_fill(hidden_B1NN, float("-inf")).softmax(dim=-1) @ v

    exact = out_and_gradients(lambda *x: attention(*x, visibility, impl="reference"), qkv, torch.float64)
    plain = out_and_gradients(eager, qkv, torch.bfloat16)
    found = out_and_gradients(lambda *x: attention(*x, visibility, impl=impl), qkv, torch.bfloat16)
    for x, y, z in zip(found, plain, exact, strict=True):
        assert relative_error(x, z) <= 2 * relative_error(y, z)


@every_visibility
@pytest.mark.parametrize("impl", [*IMPLS, "auto"])
def test_rows_in_pieces_equal_the_whole(impl: str, name: str):
    visibility, (q, k, v) = VISIBILITIES[name](140), random_qkv(140)
    whole = attention(q, k, v, visibility, impl="reference")
    bounds = [0, 1, 30, 47, 48, 49, 139, 140]
    pieces = [
        attention(q[:, :, start:stop], k, v, visibility, query_start=start, impl=impl)
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", ["row_blocks", "sdpa"])
@pytest.mark.parametrize("name", ["causal", "prefix", "window"])
@pytest.mark.parametrize("rows", [slice(0, 20), slice(89, 90), slice(60, 90)])
def test_what_lies_behind_the_last_row_is_never_read(impl: str, name: str, rows: slice):
    visibility, (q, k, v) = VISIBILITIES[name](90), random_qkv(90)
    expected = attention(q, k, v, visibility, impl="reference")[:, :, rows]
    unwritten = [torch.nn.functional.pad(x[:, :, : rows.stop], (0, 0, 0, 50), value=torch.nan) for x in (k, v)]
    found = attention(q[:, :, rows], *unwritten, visibility, query_start=rows.start, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_impl
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("rows", [slice(40, 41), slice(0, 60)])
def test_query_heads_share_key_heads(impl: str, key_heads: int, rows: slice):
    visibility, (q, k, v) = with_prefix(60), random_qkv(60, key_heads=key_heads)
    repeated = [x.repeat_interleave(4 // key_heads, dim=1) for x in (k, v)]
    expected = attention(q, *repeated, visibility, impl="reference")[:, :, rows]
    found = attention(q[:, :, rows], k, v, visibility, query_start=rows.start, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_impl
def test_strides_do_not_matter(impl: str):
    visibility, key = with_prefix(65), torch.randn(1, 2, 65, 16)
    q = torch.randn(3, 65, 4, 16).transpose(1, 2)
    k, v = key.expand(3, -1, -1, -1), torch.randn(3, 2, 65, 32)[..., ::2]
    expected = attention(*(x.contiguous() for x in (q, k, v)), visibility, impl="reference")
    torch.testing.assert_close(attention(q, k, v, visibility, impl=impl), expected, rtol=1e-5, atol=1e-5)


@every_impl
def test_a_row_that_sees_one_key_returns_its_value(impl: str):
    visibility = Visibility.prefix_body(torch.tensor([0, 2], dtype=torch.int32), 5)
    q, k, v = random_qkv(9, key_heads=4, batch=2)
    out = attention(q, k, v, visibility, impl=impl)
    for sequence, row in ((0, 0), (0, 4), (0, 5), (1, 0), (1, 2), (1, 4)):  # padding, first prefix row, first body row
        torch.testing.assert_close(out[sequence, :, row], v[sequence, :, row])


@every_impl
def test_a_sequence_does_not_depend_on_its_batch(impl: str):
    visibility, qkv = with_prefix(130), random_qkv(130)
    together = attention(*qkv, visibility, impl=impl)
    for b in range(3):
        alone = Visibility.prefix_body(visibility.prefix_B[b : b + 1], visibility.body_start)
        found = attention(*(x[b : b + 1] for x in qkv), alone, impl=impl)
        torch.testing.assert_close(found, together[b : b + 1], rtol=1e-5, atol=1e-6)


@every_impl
def test_scale_is_obeyed(impl: str):
    visibility, (q, k, v) = with_prefix(20), random_qkv(20)
    expected = attention(3 * q, k, v, visibility, impl="reference")
    found = attention(q, k, v, visibility, scale=3 * 16**-0.5, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_impl
def test_autocast_casts_as_torch_does(impl: str):
    visibility, (q, k, v) = with_prefix(40), random_qkv(40)
    expected = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), visibility, impl=impl)
    q_double, k_double, v_double = q.double(), k.double(), v.double()
    exact = attention(q_double, k_double, v_double, visibility, impl=impl)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention(q, k, v.bfloat16(), visibility, impl=impl).equal(expected)
        assert attention(q_double, k_double, v_double, visibility, impl=impl).equal(exact)


@pytest.mark.parametrize("impl", ["row_blocks", "sdpa"])
def test_layers_share_a_mask_that_outlives_inference_mode(impl: str, monkeypatch: pytest.MonkeyPatch):
    visibility, qkv, built = with_prefix(200), random_qkv(200), []
    dense = Visibility.dense
    monkeypatch.setattr(Visibility, "dense", lambda *args: built.append(args) or dense(*args))
    with torch.inference_mode():
        attention(*qkv, visibility, impl=impl)
    first_layer = len(built)
    out_and_gradients(lambda *x: attention(*x, visibility, impl=impl), qkv, torch.float32)
    assert len(built) == first_layer > 0


def test_decoding_makes_no_mask_per_row(monkeypatch: pytest.MonkeyPatch):
    visibility, (q, k, v) = with_prefix(60, frame_tokens=5, window_frames=2), random_qkv(60)
    whole = attention(q, k, v, visibility, impl="reference")
    monkeypatch.delattr(Visibility, "dense")
    for row in range(visibility.body_start, 60):
        keys, values = k[:, :, : row + 1], v[:, :, : row + 1]
        found = attention(q[:, :, row : row + 1], keys, values, visibility, query_start=row)
        torch.testing.assert_close(found, whole[:, :, row : row + 1], rtol=1e-5, atol=1e-5)


def test_compiles_into_one_graph():
    visibility, qkv = with_prefix(20, frame_tokens=4, window_frames=2), random_qkv(20)
    compiled = torch.compile(attention, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*qkv, visibility), attention(*qkv, visibility))


def test_auto_keeps_weights_only_while_they_are_small():
    def why_not(length: int, rows: int) -> str | None:
        q, k = torch.empty(1, 4, rows, 8, device="cpu"), torch.empty(1, 4, length, 8)
        return why_not_row_blocks(q, k)

    assert why_not(400, 400) is None
    assert why_not(400, 1) == "there is one query row"
    assert why_not(5000, 5000) == "the weights kept for the backward pass would exceed 256 MiB"
    with torch.no_grad():
        assert why_not(5000, 5000) is None
    assert why_not_row_blocks(torch.empty(1, 4, 9, 8, device="meta"), torch.empty(0)) == "the device is meta"


def test_each_choice_is_logged_once(caplog: pytest.LogCaptureFixture):
    _report.cache_clear()
    visibility, (q, k, v) = with_prefix(12), random_qkv(12)
    with caplog.at_level(logging.INFO, logger="videogpt_kernels"):
        for _ in range(2):
            attention(q, k, v, visibility)
            attention(q[:, :, -1:], k, v, visibility, query_start=11)
    assert caplog.messages == [
        "attention runs as row_blocks: several query rows on a CPU",
        "attention runs as sdpa: there is one query row",
    ]


@pytest.mark.parametrize("impl", ["reference", "row_blocks", "sdpa", "triton"])
def test_rows_that_nobody_sees_may_be_anything(impl: str):
    q, k, v = torch.randn(3, 4, 5, 16), *torch.randn(2, 3, 2, 20, 16)
    visibility = with_prefix(12)
    expected = attention(q, k[:, :, :14], v[:, :, :14], visibility, query_start=9, impl="reference")
    k[:, :, 14:] = v[:, :, 14:] = torch.nan  # a cache's memory behind the rows that it holds
    found = attention(q, k, v, visibility, query_start=9, impl=impl)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"q": torch.zeros(3, 4, 12)}, "axes: give"),
        ({"q": torch.zeros(2, 4, 12, 8)}, "batch"),
        ({"visibility": Visibility.causal(2)}, "q, k, visibility are of batch 3, 3, 2"),
        ({"q": torch.zeros(3, 3, 12, 8)}, "q has 3 heads, k has 2"),
        ({"q": torch.zeros(3, 4, 12, 16)}, "width 16"),
        ({"q": torch.zeros(3, 4, 0, 8)}, "q has 3 sequences of 0 rows"),
        ({"q": torch.zeros(3, 4, 12, 8, dtype=torch.float64)}, "torch.float64, torch.float32"),
        ({"q": torch.zeros(3, 4, 12, 8, device="meta")}, "one device"),
        ({"visibility": Visibility.causal(3).to("meta")}, "one device"),
        ({"k": torch.zeros(3, 2, 13, 8)}, "v is of shape"),
        ({"query_start": 1}, "query_start is 1"),
        ({"query_start": -1}, "query_start is -1"),
        ({"impl": "fastest"}, "choose auto, triton, row_blocks, sdpa, reference"),
        (dict.fromkeys("qkv", torch.zeros(3, 2, 12, 8, dtype=torch.int64)), "floating dtype"),
    ],
)
def test_misfits_are_refused_by_name(change: dict, word: str):
    zeros = torch.zeros(3, 2, 12, 8)
    good = {"q": torch.zeros(3, 4, 12, 8), "k": zeros, "v": zeros, "visibility": with_prefix(12)}
    given = good | change
    q, k, v, visibility = (given.pop(key) for key in good)
    with pytest.raises(ValueError, match=word):
        attention(q, k, v, visibility, **given)
