"""Decoding: attention over a cache, and the write into it, against attention over whole sequences in float64."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from videogpt_kernels import LayerPool, Step, TileWindow, Visibility, attention, decode_attention, triton_decode
from videogpt_kernels.pool import quantize
from videogpt_kernels.qk_rope import qk_rope
from videogpt_kernels.triton_decode import _decode_attention, splits_for, window_numbers
from videogpt_kernels.triton_write_cache import _write_cache
from videogpt_kernels.write_cache import store_rows, write_cache

# B sequences, H query heads, G key heads, M new rows, N rows, S slots, D channels of a head
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NORMS = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
IMPLS = ("torch", "triton")
VIDEO_START = 11
WINDOW = TileWindow(tile_tokens=4, tiles_high=2, tiles_wide=3, reach_high=0, reach_wide=1)
RULES = {
    "prefix": {},
    "bidirectional prefix": {"bidirectional_prefix": True},
    "block-causal": {"frame_tokens": 12, "bidirectional_frames": True},
    "window": {"frame_tokens": 12, "window_frames": 2},
    "window, block-causal": {"frame_tokens": 12, "window_frames": 2, "bidirectional_frames": True},
    "tile window": {"frame_tokens": 24, "window_frames": 2, "tile_window": WINDOW},
}


class Scene(NamedTuple):
    """Sequences as they would be without a cache, and the cache that holds all of them but the last rows' queries."""

    q: Tensor
    k: Tensor
    v: Tensor
    pool: LayerPool
    step: Step

    def exact(self) -> Tensor:
        """Outputs of the step's rows, one sequence after another, in float64."""
        step, outs = self.step, []
        for b, length in enumerate(step.lengths):
            visibility = replace(step.visibility, documents_BK3=step.visibility.documents_BK3[b : b + 1])
            end = length + step.rows
            q, k, v = (x[b : b + 1].double() for x in (self.q, self.k[:, :, :end], self.v[:, :, :end]))
            outs.append(attention(q, k, v, visibility, query_start=length, impl="reference"))
        return torch.cat(outs)


def scene(
    rules: dict, lengths: tuple[int, ...], rows: int, *,
    ring_rows: int = 200, dtype: torch.dtype = torch.float32, held: torch.dtype | None = None,
    heads: tuple[int, int] = (4, 2), width: int = 16, shared: bool = False, contiguous: bool = False,
) -> Scene:  # fmt: skip
    """Random rows; where `shared`, all sequences have the same prompt and one copy of it. Free slots hold NaN.

    Where `contiguous`, sequences lie in their order, and steps say so.
    """
    batch, end = len(lengths), max(lengths) + rows
    prefix_B = torch.arange(batch, dtype=torch.int32) * 5 % (VIDEO_START + 1)
    k, v = torch.randn(2, batch, heads[1], end, width).to(DEVICE, dtype)
    if shared:
        prefix_B[:] = prefix_B[-1]
        for x in (k, v):
            x[:, :, :VIDEO_START] = x[:1, :, :VIDEO_START]
    visibility = Visibility.prefix_body(prefix_B, VIDEO_START, **rules).to(DEVICE)
    size = VIDEO_START + ring_rows
    pool = LayerPool.empty(key_heads=heads[1], slots=batch * size, width=width, dtype=held or dtype, device=DEVICE)
    for x in pool:
        if x is not None and x.is_floating_point():
            x.fill_(torch.nan)
    # Sequences lie in an order of their own, so that nothing works by chance.
    first = [(b if contiguous else (b + 1) % batch) * size for b in range(batch)]

    def step(rows: int, lengths: tuple[int, ...], contiguous: bool = False) -> Step:
        places = [(n, first[0] if shared else own, own + VIDEO_START) for n, own in zip(lengths, first, strict=True)]
        given = {"lengths": lengths, "places_B3": torch.tensor(places, dtype=torch.int32, device=DEVICE)}
        room = {"prompt_rows": VIDEO_START, "ring_rows": ring_rows}
        return Step(rows=rows, contiguous=contiguous, visibility=visibility, **given, **room)

    for row in range(end):
        now = tuple(min(row, length + rows - 1) for length in lengths)  # shorter sequences write their last row again
        index = torch.tensor(now, device=DEVICE)[:, None, None, None].expand(batch, heads[1], 1, width)
        store_rows(k.gather(2, index), v.gather(2, index), pool, step(1, now))
    q = torch.randn(batch, heads[0], rows, width).to(DEVICE, dtype)
    return Scene(q, k, v, pool, step(rows, lengths, contiguous))


def changed(pool: LayerPool, change: Callable[[Tensor], Tensor]) -> LayerPool:
    return LayerPool(*(None if x is None else change(x) for x in pool))


def assert_agrees(made: Scene, impl: str, norm: float | None = None) -> None:
    found, exact = decode_attention(made.q, made.pool, made.step, impl=impl), made.exact()
    assert found.shape == made.q.shape and found.dtype == made.q.dtype
    assert not found.isnan().any()
    assert float((found.double() - exact).norm() / exact.norm()) < (norm or NORMS[made.q.dtype])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("rows", [1, 5, 20])
@pytest.mark.parametrize("name", RULES)
def test_agrees_for_every_visibility(name: str, rows: int, impl: str):
    assert_agrees(scene(RULES[name], (40, 17, 61), rows), impl)


@pytest.mark.parametrize("held", [None, torch.int8], ids=str)
@pytest.mark.parametrize("start, rows", [(40, 1), (40, 5), (3, 4), (0, 7)])
@pytest.mark.parametrize("name", RULES)
def test_sequences_in_one_piece_are_read_where_they_lie(name: str, start: int, rows: int, held: torch.dtype | None):
    made = scene(RULES[name], (start, start), rows, held=held, contiguous=True)
    assert_agrees(made, "torch", norm=None if held is None else 2e-2)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("rows, ring_rows", [(1, 24), (1, 29), (6, 29), (6, 40)])
@pytest.mark.parametrize("name", ["window", "window, block-causal"])
def test_a_ring_of_the_window_is_as_good_as_all_rows(name: str, rows: int, ring_rows: int, impl: str):
    if name == "window, block-causal":
        ring_rows += 12  # the rows of the frame that come next are seen, and must be there
    assert_agrees(scene(RULES[name], (130, 12, 71), rows, ring_rows=ring_rows), impl)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("rows", [1, 7])
def test_sequences_share_a_prompt(rows: int, impl: str):
    assert_agrees(scene({}, (31, 44, 11), rows, shared=True), impl)


@pytest.mark.parametrize("dtype", NORMS, ids=str)
@pytest.mark.parametrize("heads", [(1, 1), (4, 1), (8, 1), (6, 2)])
def test_query_heads_share_key_heads(heads: tuple[int, int], dtype: torch.dtype):
    for rows in (1, 9):
        assert_agrees(scene(RULES["window"], (50, 20), rows, heads=heads, dtype=dtype), "triton")


@pytest.mark.parametrize("width", [8, 40, 64, 128, 256])
def test_agrees_for_every_width(width: int):
    assert_agrees(scene({}, (30,), 3, width=width, dtype=torch.float16), "triton")


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 64])
def test_agrees_for_every_number_of_new_rows(rows: int):
    assert_agrees(scene(RULES["window"], (70, 33), rows, dtype=torch.float16, heads=(8, 2)), "triton")


@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (3, 11)])
@pytest.mark.parametrize("impl", IMPLS)
def test_rows_of_text_are_rows_like_others(lengths: tuple[int, ...], impl: str):
    for rows in (1, 14):
        assert_agrees(scene({"bidirectional_prefix": False}, lengths, rows), impl)


@pytest.mark.parametrize("programs", [1, 16, 4000])
@pytest.mark.parametrize("name", ["prefix", "window"])
def test_splits_do_not_matter_even_empty_ones(name: str, programs: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton_decode, "PROGRAMS_PER_PROCESSOR", programs)
    assert_agrees(scene(RULES[name], (90, 11, 12), 2, ring_rows=900), "triton")


def test_splits_keep_processors_busy_and_know_no_length():
    assert splits_for(programs=1, most_keys=100_000, keys=64, processors=132) == 64
    assert splits_for(programs=1, most_keys=200, keys=64, processors=132) == 4
    assert splits_for(programs=1000, most_keys=100_000, keys=64, processors=132) == 1


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("rows", [1, 8])
def test_int8_agrees_with_the_numbers_it_holds(rows: int, impl: str):
    made = scene(RULES["window"], (60, 31), rows, held=torch.int8, width=64)
    assert_agrees(made, impl, norm=2e-2)
    k, v = (steps.float() * scale[..., None] for steps, scale in map(quantize, (made.k, made.v)))
    assert_agrees(made._replace(k=k, v=v), impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_small_values_in_int8_survive_float16(impl: str):
    made = scene({}, (900,), 1, ring_rows=1000, dtype=torch.float16, held=torch.int8)
    pool = made.pool._replace(value_scales_GS=made.pool.value_scales_GS * 1e-3)
    assert_agrees(made._replace(pool=pool, v=made.v.double() * 1e-3), impl, norm=2e-2)


def test_int8_is_right_to_half_a_step_and_keeps_zeros():
    x = torch.randn(3, 7, 32)
    x[1, 2] = 0
    steps, scale = quantize(x)
    assert steps.dtype == torch.int8 and steps.abs().amax() == 127 and not steps[1, 2].any()
    assert ((steps * scale[..., None] - x).abs() <= scale[..., None] * 0.5001).all()


@pytest.mark.parametrize("held", [None, torch.int8], ids=str)
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("dtype", NORMS, ids=str)
def test_the_write_is_norm_and_turn_into_the_right_slots(dtype: torch.dtype, rows: int, held: torch.dtype | None):
    made = scene(RULES["window"], (130, 12, 71), rows, ring_rows=31, dtype=dtype, held=held)
    qkv = torch.randn(3, rows, 8, 16, device=DEVICE).to(dtype)
    gain = torch.rand(6, device=DEVICE) + 0.5
    angle = 9 * torch.randn(3, rows, 1, 8, device=DEVICE)
    cos = torch.cat([angle.cos()] * 2, dim=-1).to(dtype)
    sin = torch.cat([-angle.sin(), angle.sin()], dim=-1).to(dtype)
    pools = {impl: changed(made.pool, Tensor.clone) for impl in IMPLS}
    q = {impl: write_cache(qkv, gain, cos, sin, pools[impl], made.step, impl=impl) for impl in IMPLS}
    exact = qk_rope(qkv[:, :, :6].double(), gain.double(), cos.double(), sin.double(), impl="torch")
    for impl in IMPLS:
        assert float((q[impl].transpose(1, 2).double() - exact[:, :, :4]).norm() / exact.norm()) < NORMS[dtype]
        for (x, scales), rows_BMGD in zip(pools[impl].parts(), (exact[:, :, 4:], qkv[:, :, 6:].double()), strict=True):
            new = x[:, made.step.new_slots_BM].double()
            norm = NORMS[dtype]
            if scales is not None:
                new, norm = new * scales[:, made.step.new_slots_BM][..., None], 1e-2
            expected = rows_BMGD.permute(2, 0, 1, 3)
            assert float((new - expected).norm() / expected.norm()) < norm
        for before, after in zip(made.pool, pools[impl], strict=True):
            if before is not None:
                kept = torch.ones(before.shape[1], dtype=torch.bool, device=DEVICE)
                kept[made.step.new_slots_BM.flatten()] = False
                assert torch.equal(before[:, kept].nan_to_num(7.0), after[:, kept].nan_to_num(7.0))
    if held == torch.int8:
        for x, y in zip(pools["torch"], pools["triton"], strict=True):
            apart = (x.nan_to_num(7.0) - y.nan_to_num(7.0)).abs().amax()
            assert apart <= (1 if x.dtype == torch.int8 else 1e-2)


def test_strides_do_not_matter():
    made = scene({}, (30, 20), 5)
    q = torch.empty(2, 5, 4, 32, device=DEVICE)[..., ::2].transpose(1, 2).copy_(made.q)
    for impl in IMPLS:
        plain = decode_attention(made.q, made.pool, made.step, impl=impl)
        torch.testing.assert_close(decode_attention(q, made.pool, made.step, impl=impl), plain)


def test_operators_are_registered_as_torch_wants_them():
    made = scene(RULES["tile window"], (60, 31), 2)
    step, pool = made.step, changed(made.pool, Tensor.nan_to_num)
    places = (step.places_B3, step.prompt_rows, step.ring_rows)
    window = window_numbers(step.visibility)
    torch.library.opcheck(_decode_attention, (made.q, *pool, step.limits_B4M, *places, 211, window, 0.25))
    qkv, turn = torch.randn(2, 2, 8, 16, device=DEVICE), torch.ones(1, 2, 1, 16, device=DEVICE)
    torch.library.opcheck(_write_cache, (qkv, torch.ones(6, device=DEVICE), turn, turn, *pool, *places))


@pytest.mark.parametrize(
    "q, impl, word",
    [
        (torch.zeros(2, 4, 3, 16), "auto", "q has 2 x 3 rows, the step has 2 x 2"),
        (torch.zeros(1, 4, 2, 16), "auto", "q has 1 x 2 rows, the step has 2 x 2"),
        (torch.zeros(2, 3, 2, 16), "auto", "q has 3 heads"),
        (torch.zeros(2, 4, 2, 24), "auto", "width 24, the cache 2 of width 16"),
        (torch.zeros(2, 4, 2, 16).half(), "auto", "q is torch.float16, the cache holds torch.float32"),
        (torch.zeros(2, 4, 2, 16, device="meta"), "auto", "move all to one device"),
        (torch.zeros(2, 4, 2, 16), "fastest", "choose auto, triton, torch"),
    ],
)
def test_misfits_are_refused_by_name(q: Tensor, impl: str, word: str):
    made = scene({}, (20, 14), 2)
    with pytest.raises(ValueError, match=word):
        decode_attention(q if q.is_meta else q.to(DEVICE), made.pool, made.step, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    "shape, gains, turn, word",
    [
        ((2, 3, 8, 16), 6, (1, 2, 1, 16), "qkv has 2 x 3 rows"),
        ((2, 2, 4, 16), 2, (1, 2, 1, 16), "qkv has 4 heads"),
        ((2, 2, 8, 24), 6, (1, 2, 1, 16), "width 24"),
        (
            (2, 2, 8, 16),
            8,
            (1, 2, 1, 16),
            "qk has 6 heads of width 16, gain is of shape .8,.: give one gain per head",
        ),
        *(
            ((2, 2, 8, 16), 6, turn, "cos, sin are of shape")
            for turn in [(1, 1, 1, 16), (1, 0, 1, 16), (3, 2, 1, 16), (1, 2, 1, 8)]
        ),
    ],
)
def test_what_is_written_must_fit(shape: tuple[int, ...], gains: int, turn: tuple[int, ...], word: str, impl: str):
    made = scene({}, (20, 14), 2)
    qkv, gain, angle = (torch.ones(size, device=DEVICE) for size in (shape, gains, turn))
    with pytest.raises(ValueError, match=word):
        write_cache(qkv, gain, angle, angle, made.pool, made.step, impl=impl)


def test_pools_of_another_make_are_refused():
    made = scene({}, (20, 14), 2)
    values, scales = made.pool.values_GSD, torch.ones(2, 422, device=DEVICE)
    for pool, word in (
        (made.pool._replace(values_GSD=values.mT.contiguous().mT), "make both alike"),
        (made.pool._replace(values_GSD=values[:, :-1]), "make both alike"),
        (made.pool._replace(key_scales_GS=scales), "scales that do not fit"),
    ):
        with pytest.raises(ValueError, match=word):
            decode_attention(made.q, pool, made.step, impl="triton")


def test_gradients_end_at_the_cache():
    made, turn = scene({}, (20, 14), 2), torch.ones(1, 2, 1, 16, device=DEVICE)
    qkv = torch.randn(2, 2, 8, 16, device=DEVICE, requires_grad=True)
    write_cache(qkv, torch.ones(6, device=DEVICE), turn, turn, *made[3:], impl="torch")
    assert not made.pool.keys_GSD.requires_grad and not made.pool.values_GSD.requires_grad
