"""Every implementation against softmax attention in float64, forward and backward, on awkward shapes.

The Triton kernels too: compiled where there is a GPU, else in Triton's interpreter.
"""

import logging
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from videogpt_kernels import Document, TileWindow, Visibility, attention
from videogpt_kernels.attention import _report
from videogpt_kernels.row_blocks import why_not_row_blocks

# B batch, H query heads, G key heads, N rows, D head dimension
LENGTHS = (1, 15, 63, 64, 65, 127, 128, 129, 275)
NORMS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
IMPLS = ("row_blocks", "sdpa", "reference")
GPU = "cuda" if torch.cuda.is_available() else "cpu"


def with_prefix(length: int, batch: int = 3, **rules) -> Visibility:
    """Up to three sequences: one whose text fills its region, one with padding, one without text."""
    body_start = length // 3
    prefix_B = torch.tensor([body_start, body_start // 2, 0][:batch], dtype=torch.int32)
    return Visibility.prefix_body(prefix_B, body_start, **rules)


def with_documents(length: int, batch: int = 3, **rules) -> Visibility:
    """Up to three packed sequences: of documents shorter than a tile, of longer ones, of none; padding ends all."""
    short = [Document(2, 9), Document(0, 5), Document(11, 0), Document(4, 20)]
    long = [Document(length // 5, length // 3), Document(3, length // 4)]
    return Visibility.packed([short, long, []][:batch], **rules)


def tiles(tile_tokens: int, high: int, wide: int, reach: tuple[int, int]) -> dict[str, object]:
    numbers = {"tiles_high": high, "tiles_wide": wide, "reach_high": reach[0], "reach_wide": reach[1]}
    return {"frame_tokens": tile_tokens * high * wide, "tile_window": TileWindow(tile_tokens=tile_tokens, **numbers)}


BOTH_WAYS = {"bidirectional_frames": True}
VISIBILITIES: dict[str, Callable[..., Visibility]] = {
    "causal": lambda length, batch: Visibility.causal(batch),
    "prefix": with_prefix,
    "bidirectional prefix": partial(with_prefix, bidirectional_prefix=True),
    "frames": partial(with_prefix, frame_tokens=7, **BOTH_WAYS),
    "window": partial(with_prefix, frame_tokens=7, window_frames=2),
    "window from frame 0": partial(with_prefix, frame_tokens=16, frame_offset=0, window_frames=2),
    "window of frames": partial(with_prefix, frame_tokens=16, frame_offset=0, window_frames=3, **BOTH_WAYS),
    "documents": with_documents,
    "window in documents": partial(with_documents, frame_tokens=6, window_frames=2, bidirectional_prefix=True),
    "window of frames in documents": partial(
        with_documents, frame_tokens=6, window_frames=2, bidirectional_prefix=True, **BOTH_WAYS
    ),
    "tiles": partial(with_prefix, window_frames=2, **tiles(32, 2, 1, reach=(0, 0))),
    "tiles, both ways": partial(with_prefix, **BOTH_WAYS, **tiles(32, 1, 2, reach=(1, 1))),
    "tiles of 4": partial(with_prefix, window_frames=2, **tiles(4, 2, 3, reach=(0, 1))),
}
FOR_KERNELS = [name for name in VISIBILITIES if name != "tiles of 4"]  # smaller than the kernels' own
every_impl = pytest.mark.parametrize("impl", IMPLS)
every_visibility = pytest.mark.parametrize("name", VISIBILITIES)


def every_pair(*impls: str) -> pytest.MarkDecorator:
    """Each of these implementations with every visibility that it takes."""
    taken = [(impl, name) for impl in impls for name in VISIBILITIES if impl != "triton" or name in FOR_KERNELS]
    return pytest.mark.parametrize("impl, name", taken)


def device_of(impl: str) -> str:
    return GPU if impl == "triton" else "cpu"


def given(
    impl: str, name: str, length: int, dtype: torch.dtype = torch.float32, *,
    heads: int | None = None, key_heads: int | None = None, width: int = 16, **rules,
) -> tuple[list[Tensor], Visibility]:  # fmt: skip
    """Random q, k, v, and who sees whom. Fewer for the kernels: the interpreter's time goes with their number."""
    batch, usual, usual_keys = (2, 2, 1) if impl == "triton" else (3, 4, 2)
    device, counts = device_of(impl), (heads or usual, key_heads or usual_keys, key_heads or usual_keys)
    qkv = [torch.randn(batch, count, length, width).to(device, dtype) for count in counts]
    return qkv, VISIBILITIES[name](length, batch, **rules).to(device)


def out_and_gradients(run: Callable[..., Tensor], qkv: list[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """The output and the gradients of q, k, v, computed in `dtype`, for one fixed gradient of the output."""
    leaves = [x.to(dtype or x.dtype).detach().requires_grad_() for x in qkv]
    out = run(*leaves)
    up = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).mul(9).cos().view(out.shape).to(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


def found_and_exact(impl: str, qkv: list[Tensor], visibility: Visibility, **options) -> list[list[Tensor]]:
    """Output and gradients of an implementation, and those of the reference in float64."""
    found = out_and_gradients(partial(attention, visibility=visibility, impl=impl, **options), qkv)
    exact = partial(attention, visibility=visibility, impl="reference", **options)
    return [found, out_and_gradients(exact, qkv, torch.float64)]


def relative_error(x: Tensor, exact: Tensor) -> float:
    assert not x.isnan().any()
    return float((x.double() - exact).norm() / exact.norm().clamp(min=1e-30))


def assert_agrees(impl: str, qkv: list[Tensor], visibility: Visibility, **options) -> None:
    found, exact = found_and_exact(impl, qkv, visibility, **options)
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


@every_impl
@every_visibility
@pytest.mark.parametrize("length", LENGTHS)
def test_agrees_with_float64(impl: str, name: str, length: int):
    assert_agrees(impl, *given(impl, name, length))


HALF, DTYPES = torch.float16, (torch.float32, torch.float16, torch.bfloat16)
# In 16 bits, or short: tiles of float32 are small, and time goes with their number.
OF_TRITON = [  # visibility, length, dtype, query heads, key heads, width
    *((name, 65 if dtype == torch.float32 else 129, dtype, 2, 1, 16) for name in FOR_KERNELS for dtype in DTYPES),
    *((name, length, HALF, 2, 1, 16) for name in ("prefix", "window of frames in documents") for length in LENGTHS),
    *(("window from frame 0", 70, HALF, 2, 1, width) for width in (8, 32, 40, 64, 80, 128, 256)),
    *(("prefix", 66, HALF, heads, key_heads, 16) for heads, key_heads in ((1, 1), (4, 1), (4, 2), (8, 1))),
    *(
        pytest.param(*case, 4, 2, width, marks=pytest.mark.sweep)
        for *case, width in product(FOR_KERNELS, LENGTHS, DTYPES, (16, 64, 128))
    ),
]


@pytest.mark.parametrize("name, length, dtype, heads, key_heads, width", OF_TRITON, ids=str)
def test_triton_agrees_with_float64(name: str, length: int, dtype: torch.dtype, heads: int, key_heads: int, width: int):
    assert_agrees("triton", *given("triton", name, length, dtype, heads=heads, key_heads=key_heads, width=width))


@every_pair("row_blocks", "sdpa", "triton")
def test_bfloat16_is_as_good_as_eager(impl: str, name: str):
    key_heads = 2 if impl == "triton" else 4
    qkv, visibility = given(impl, name, 129, torch.bfloat16, key_heads=key_heads, width=64)
    hidden_B1NN = ~visibility.dense(0, 129, 129)[:, None]

    def eager(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * 0.125).masked_fill(hidden_B1NN, float("-inf")).softmax(dim=-1) @ v

    plain = out_and_gradients(eager, qkv)
    for x, y, z in zip(*found_and_exact(impl, qkv, visibility), plain, strict=True):
        assert relative_error(x, y) <= 2 * relative_error(z, y)


@pytest.mark.parametrize("name", ["window from frame 0", "documents"])
def test_gradients_of_triton_are_those_of_the_function(name: str):
    qkv, visibility = given("triton", name, 21, torch.float64, width=8)
    run = partial(attention, visibility=visibility, impl="triton")
    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in qkv], fast_mode=True)


@every_pair(*IMPLS, "auto", "triton")
def test_rows_in_pieces_equal_the_whole(impl: str, name: str):
    (q, k, v), visibility = given(impl, name, 140)
    whole = attention(q, k, v, visibility, impl="reference")
    pieces = [
        attention(q[:, :, start:stop], k, v, visibility, query_start=start, impl=impl)
        for start, stop in pairwise([0, 1, 30, 46, 47, 48, 49, 139, 140])
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", [*IMPLS, "triton"])
@pytest.mark.parametrize("name", ["causal", "prefix", "window"])
@pytest.mark.parametrize("rows", [slice(0, 20), slice(0, 70), slice(89, 90), slice(60, 90)])
def test_what_lies_behind_the_last_row_is_never_read(impl: str, name: str, rows: slice):
    (q, k, v), visibility = given(impl, name, 90)
    expected = attention(q, k, v, visibility, impl="reference")[:, :, rows]
    unwritten = [torch.nn.functional.pad(x[:, :, : rows.stop], (0, 0, 0, 50), value=torch.nan) for x in (k, v)]
    found = attention(q[:, :, rows], *unwritten, visibility, query_start=rows.start, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@every_impl
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("rows", [slice(40, 41), slice(0, 60)])
def test_query_heads_share_key_heads(impl: str, key_heads: int, rows: slice):
    (q, k, v), visibility = given(impl, "prefix", 60, key_heads=key_heads)
    repeated = [x.repeat_interleave(4 // key_heads, dim=1) for x in (k, v)]
    expected = attention(q, *repeated, visibility, impl="reference")[:, :, rows]
    found = attention(q[:, :, rows], k, v, visibility, query_start=rows.start, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", [*IMPLS, "triton"])
def test_strides_do_not_matter(impl: str):
    """Rows before heads, one key head for all sequences, every other channel, channels before rows."""
    kind = {"device": device_of(impl), "dtype": torch.float16 if impl == "triton" else torch.float32}
    q, k = torch.randn(3, 65, 4, 16, **kind).transpose(1, 2), torch.randn(1, 2, 65, 16, **kind).expand(3, -1, -1, -1)
    for v in (torch.randn(3, 2, 65, 32, **kind)[..., ::2], torch.randn(3, 2, 16, 65, **kind).mT):
        visibility = with_prefix(65).to(device_of(impl))
        assert_agrees(impl, [q, k, v], visibility)
        plain = attention(*(x.contiguous() for x in (q, k, v)), visibility, impl=impl)
        torch.testing.assert_close(attention(q, k, v, visibility, impl=impl), plain, rtol=1e-5, atol=1e-5)


def test_offsets_beyond_32_bits():
    """The second sequence lies three thousand million numbers behind the first: virtual memory, mostly untouched."""
    apart = 3 * 10**9
    storage = torch.empty(apart + 40 * 16, dtype=torch.float16, device=GPU)
    far = storage.as_strided((2, 1, 40, 16), (apart, 40 * 16, 16, 1))
    far.copy_(torch.randn(2, 1, 40, 16))
    q, k, v = (x.to(GPU) for x in torch.randn(3, 2, 1, 40, 16).half())
    for inputs in ([far, k, v], [q, far, v], [q, k, far]):
        assert_agrees("triton", inputs, with_prefix(40, 2).to(GPU))


@every_impl
def test_a_row_that_sees_one_key_returns_its_value(impl: str):
    visibility = Visibility.prefix_body(torch.tensor([0, 2], dtype=torch.int32), 5)
    q, k, v = torch.randn(3, 2, 4, 9, 16)
    out = attention(q, k, v, visibility, impl=impl)
    for sequence, row in ((0, 0), (0, 4), (0, 5), (1, 0), (1, 2), (1, 4)):  # padding, first prefix row, first body row
        torch.testing.assert_close(out[sequence, :, row], v[sequence, :, row])


@every_impl
def test_a_sequence_does_not_depend_on_its_batch(impl: str):
    qkv, visibility = given(impl, "prefix", 130)
    together = attention(*qkv, visibility, impl=impl)
    for b in range(3):
        alone = Visibility.prefix_body(visibility.prefix_B[b : b + 1], visibility.body_start)
        found = attention(*(x[b : b + 1] for x in qkv), alone, impl=impl)
        torch.testing.assert_close(found, together[b : b + 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("impl", [*IMPLS, "triton"])
def test_scale_is_obeyed(impl: str):
    (q, k, v), visibility = given(impl, "prefix", 20)
    expected = attention(3 * q, k, v, visibility, impl="reference")
    found = attention(q, k, v, visibility, scale=3 * 16**-0.5, impl=impl)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_agrees(impl, [q, k, v], visibility, scale=0.7)


@every_impl
def test_autocast_casts_as_torch_does(impl: str):
    (q, k, v), visibility = given(impl, "prefix", 40)
    expected = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), visibility, impl=impl)
    q_double, k_double, v_double = q.double(), k.double(), v.double()
    exact = attention(q_double, k_double, v_double, visibility, impl=impl)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention(q, k, v.bfloat16(), visibility, impl=impl).equal(expected)
        assert attention(q_double, k_double, v_double, visibility, impl=impl).equal(exact)


@pytest.mark.parametrize(
    "impl, derived, times", [("row_blocks", "dense", 2), ("sdpa", "dense", 1), ("triton", "intervals", 1)]
)
def test_layers_share_a_plan_that_outlives_inference_mode(
    impl: str, derived: str, times: int, monkeypatch: pytest.MonkeyPatch
):
    (qkv, visibility), made, derive = given(impl, "prefix", 200), [], getattr(Visibility, derived)
    monkeypatch.setattr(Visibility, derived, lambda *args: made.append(args) or derive(*args))
    run = partial(attention, visibility=visibility, impl=impl)
    with torch.inference_mode():
        run(*qkv)
    out_and_gradients(run, qkv)
    assert len(made) == times


def test_decoding_makes_no_mask_per_row(monkeypatch: pytest.MonkeyPatch):
    (q, k, v), visibility = given("auto", "prefix", 60, frame_tokens=5, window_frames=2)
    whole = attention(q, k, v, visibility, impl="reference")
    monkeypatch.delattr(Visibility, "dense")
    for row in range(visibility.body_start, 60):
        keys, values = k[:, :, : row + 1], v[:, :, : row + 1]
        found = attention(q[:, :, row : row + 1], keys, values, visibility, query_start=row)
        torch.testing.assert_close(found, whole[:, :, row : row + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("impl", ["auto", "triton"])
def test_compiles_into_one_graph(impl: str):
    qkv, visibility = given(impl, "window", 20)
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    found = out_and_gradients(lambda *x: compiled(*x, visibility, impl=impl), qkv)
    plain = out_and_gradients(lambda *x: attention(*x, visibility, impl=impl), qkv)
    for x, y in zip(found, plain, strict=True):
        torch.testing.assert_close(x, y)


def test_compiles_for_windows_of_several_tiles():
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    for tile_tokens in (16, 32):  # the second makes the number a symbol
        qkv, visibility = given("triton", "prefix", 45, **tiles(tile_tokens, 2, 1, reach=(0, 0)))
        exact = attention(*qkv, visibility, impl="reference")
        torch.testing.assert_close(compiled(*qkv, visibility, impl="triton"), exact)


def test_row_blocks_of_packed_documents_read_no_others():
    flops = {}
    for name, visibility in {
        "packed": Visibility.packed([[Document(20, 236)] * 6]),
        "one": Visibility.packed([[Document(20, 6 * 256 - 20)]]),
    }.items():
        qkv = [torch.randn(1, 1, 6 * 256, 16, requires_grad=True) for _ in range(3)]
        with FlopCounterMode(display=False) as counter:
            attention(*qkv, visibility, impl="row_blocks").sum().backward()
        flops[name] = counter.get_total_flops()
    assert flops["packed"] < 0.3 * flops["one"]


def test_activation_checkpointing_changes_nothing():
    qkv, visibility = given("triton", "prefix", 20)
    run = partial(attention, visibility=visibility, impl="triton")
    found = out_and_gradients(lambda *x: checkpoint(run, *x, use_reentrant=False), qkv)
    assert all(x.equal(y) for x, y in zip(found, out_and_gradients(run, qkv), strict=True))


def test_the_same_inputs_give_the_same_bits():
    qkv, visibility = given("triton", "documents", 129, torch.float16)
    run = partial(attention, visibility=visibility, impl="triton")
    first, again = (out_and_gradients(run, qkv) for _ in range(2))
    assert all(x.equal(y) for x, y in zip(first, again, strict=True))


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
    (q, k, v), visibility = given("auto", "prefix", 12)
    with caplog.at_level(logging.INFO, logger="videogpt_kernels"):
        for _ in range(2):
            attention(q, k, v, visibility)
            attention(q[:, :, -1:], k, v, visibility, query_start=11)
    assert caplog.messages == [
        "attention runs as row_blocks: several query rows on a CPU",
        "attention runs as sdpa: there is one query row",
    ]


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
