"""Row intervals against the same rules spelled out key by key."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt_kernels import Document, TileWindow, Visibility

FAST = settings(max_examples=200, deadline=None)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    frame_tokens = draw(st.integers(1, 5))
    return {
        "bidirectional_prefix": draw(st.booleans()),
        "frame_tokens": frame_tokens,
        "frame_offset": draw(st.integers(0, frame_tokens)),
        "bidirectional_frames": draw(st.booleans()),
        "window_frames": draw(st.none() | st.integers(1, 4)),
        "tile_window": draw(st.none() | windows(frame_tokens)),
    }


@st.composite
def windows(draw: st.DrawFn, frame_tokens: int) -> TileWindow:
    """Frames of one row or one column of tiles, of one row or all rows of the frame each."""
    tile, high, wide = draw(st.permutations([1, 1, frame_tokens]))
    reach = {"reach_high": draw(st.integers(0, 2)), "reach_wide": draw(st.integers(0, 2))}
    return TileWindow(tile_tokens=tile, tiles_high=high, tiles_wide=wide, **reach)


@st.composite
def single(draw: st.DrawFn) -> Visibility:
    body_start = draw(st.integers(0, 9))
    prefixes = draw(st.lists(st.integers(0, body_start), min_size=1, max_size=3))
    return Visibility.prefix_body(torch.tensor(prefixes, dtype=torch.int32), body_start, **draw(rules()))


documents = st.lists(st.builds(Document, st.integers(0, 6), st.integers(0, 9)), max_size=4)
packed = st.builds(
    lambda sequences, given: Visibility.packed(sequences, **given), st.lists(documents, min_size=1, max_size=3), rules()
)
visibilities = single() | packed
query_starts, counts = st.integers(0, 30), st.integers(1, 25)


def sees(v: Visibility, table: list[list[int]], query: int, key: int) -> bool:
    """The definition, in words rather than in arithmetic."""
    if key == query:
        return True
    document = [query >= first for first, _, _ in table].count(True) - 1
    first, prefix_end, body_start = table[document]
    if document != [key >= first for first, _, _ in table].count(True) - 1:
        return False
    if query < prefix_end:
        return key < prefix_end and (v.bidirectional_prefix or key < query)
    if query < body_start:
        return False
    if key < body_start:
        return key < prefix_end
    frames = [-1] * v.frame_offset + [frame for frame in range(99) for _ in range(v.frame_tokens)]
    frame, key_frame = frames[query - body_start], frames[key - body_start]
    if v.window_frames is not None and key_frame <= frame - v.window_frames:
        return False
    if v.tile_window is not None and min(frame, key_frame) >= 0:
        places = []
        for row in (query, key):
            tile = (row - body_start - v.frame_offset) % v.frame_tokens // v.tile_window.tile_tokens
            places.append(divmod(tile, v.tile_window.tiles_wide))
        (i, j), (key_i, key_j) = places
        if abs(i - key_i) > v.tile_window.reach_high or abs(j - key_j) > v.tile_window.reach_wide:
            return False
    return key < query or (v.bidirectional_frames and key_frame == frame)


@FAST
@given(visibilities, query_starts, counts, counts)
def test_dense_mask_is_the_definition(v: Visibility, query_start: int, num_queries: int, num_keys: int):
    queries = range(query_start, query_start + num_queries)
    tables = v.documents_BK3.tolist()
    expected = [[[sees(v, table, q, k) for k in range(num_keys)] for q in queries] for table in tables]
    assert v.dense(query_start, num_queries, num_keys).tolist() == expected


@FAST
@given(visibilities, query_starts, counts)
def test_intervals_are_disjoint_and_hold_the_row_itself(v: Visibility, query_start: int, num_queries: int):
    start_BM, end_BM, low_BM, high_BM = limits = v.intervals(query_start, num_queries)
    row_M = torch.arange(query_start, query_start + num_queries)
    assert all(limit.dtype == torch.int32 and limit.shape == (v.batch, num_queries) for limit in limits)
    assert ((start_BM >= 0) & (start_BM <= end_BM) & (end_BM <= low_BM)).all()
    assert ((low_BM <= row_M) & (row_M <= high_BM)).all()


@FAST
@given(visibilities, query_starts, counts, st.integers(0, 10))
def test_key_slices_hold_all_that_is_seen(v: Visibility, query_start: int, num_queries: int, further_keys: int):
    num_keys = query_start + num_queries + further_keys
    reached = torch.zeros(num_keys, dtype=torch.bool)
    for keys in v.key_slices(query_start, num_queries, num_keys):
        reached[keys] = True
    assert not v.dense(query_start, num_queries, num_keys)[..., ~reached].any()


@FAST
@given(single().filter(lambda v: v.tile_window is None), query_starts, counts, st.integers(0, 10))
def test_key_slices_end_at_keys_that_some_prefix_shows(
    v: Visibility, query_start: int, num_queries: int, further_keys: int
):
    slices = v.key_slices(query_start, num_queries, query_start + num_queries + further_keys)
    queries = range(query_start, query_start + num_queries)
    tables = [[[0, prefix, v.body_start]] for prefix in range(v.body_start + 1)]
    for end in {keys.start for keys in slices} | {keys.stop - 1 for keys in slices}:
        assert any(sees(v, table, query, end) for query in queries for table in tables)


@FAST
@given(visibilities, st.integers(0, 24), st.data())
def test_rows_decoded_later_see_what_they_see_in_training(v: Visibility, query_start: int, data: st.DataObject):
    num_queries = data.draw(st.integers(1, 25 - query_start))
    whole_BNN = v.dense(0, 25, 25)
    assert v.dense(query_start, num_queries, 25).equal(whole_BNN[:, query_start : query_start + num_queries])


@FAST
@given(st.lists(documents, min_size=1, max_size=3), rules())
def test_a_packed_document_sees_what_it_sees_alone(sequences: list[list[Document]], given_rules: dict[str, Any]):
    whole = Visibility.packed(sequences, **given_rules).dense(0, 60, 60)
    for b, sequence in enumerate(sequences):
        first = 0
        for prefix_rows, body_rows in sequence:
            own = slice(first, first + prefix_rows + body_rows)
            prefix_B = torch.tensor([prefix_rows], dtype=torch.int32)
            rows = prefix_rows + body_rows
            alone = Visibility.prefix_body(prefix_B, prefix_rows, **given_rules).dense(0, rows, rows)
            assert whole[b, own, own].equal(alone[0])
            assert not whole[b, own, : own.start].any() and not whole[b, own, own.stop :].any()
            first = own.stop


def test_causal_is_the_triangle():
    assert Visibility.causal(2).dense(0, 4, 4).equal(torch.ones(2, 4, 4).tril().bool())


def prefix_body(**setting: Any) -> Visibility:
    good = {"prefix_B": torch.tensor([3], dtype=torch.int32), "body_start": 4}
    return Visibility.prefix_body(**(good | setting))


ONE_TILE = TileWindow(tile_tokens=4, tiles_high=1, tiles_wide=1, reach_high=0, reach_wide=0)
PACKED = Visibility.packed([[Document(2, 3), Document(1, 4)]])
REFUSED = {
    "prefix_B is torch.int64": lambda: prefix_body(prefix_B=torch.tensor([1, 2])),
    "body_start=4": lambda: prefix_body(prefix_B=torch.tensor([5], dtype=torch.int32)),
    "prefix_B spans -1": lambda: prefix_body(prefix_B=torch.tensor([-1], dtype=torch.int32)),
    "body_start is -1": lambda: prefix_body(body_start=-1),
    "frame_tokens is 0": lambda: prefix_body(frame_tokens=0),
    "frame_offset is 2": lambda: prefix_body(frame_offset=2),
    "window_frames is 0": lambda: prefix_body(window_frames=0),
    "has 4": lambda: prefix_body(tile_window=ONE_TILE),
    "torch.float32": lambda: Visibility(documents_BK3=torch.zeros(1, 1, 3)),
    r"shape \(1, 3\)": lambda: Visibility(documents_BK3=torch.zeros(1, 3, dtype=torch.int32)),
    "ascending": lambda: Visibility(documents_BK3=torch.tensor([[[0, 3, 3], [2, 4, 4]]], dtype=torch.int32)),
    "the first is 0": lambda: Visibility(documents_BK3=torch.tensor([[[1, 3, 3]]], dtype=torch.int32)),
    "-1 prefix and 3 body rows": lambda: Visibility.packed([[Document(-1, 3)]]),
    "no common body_start": lambda: PACKED.body_start,
    "no prefix": lambda: PACKED.prefix_B,
}


@pytest.mark.parametrize("word", REFUSED)
def test_contradictions_are_refused_by_name(word: str):
    with pytest.raises(ValueError, match=word):
        REFUSED[word]()


def test_once_builds_again_only_for_another_key():
    v, built = Visibility.causal(1), []
    for key in (1, 1, 2, 2, 1):
        v.once("mask", key, lambda key=key: built.append(key))
    assert built == [1, 2, 1]


def test_moving_keeps_every_setting():
    v = Visibility.prefix_body(torch.tensor([2], dtype=torch.int32), 3, frame_tokens=4, window_frames=2)
    moved = v.to("meta")
    assert moved.device.type == "meta"
    assert (moved.body_start, moved.frame_tokens, moved.window_frames) == (3, 4, 2)
