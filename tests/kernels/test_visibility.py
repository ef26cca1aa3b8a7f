"""Row intervals against the same rules spelled out key by key."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt_kernels import Visibility

FAST = settings(max_examples=200, deadline=None)


@st.composite
def visibilities(draw: st.DrawFn) -> Visibility:
    video_start = draw(st.integers(0, 9))
    frame_tokens = draw(st.integers(1, 5))
    prefixes = draw(st.lists(st.integers(0, video_start), min_size=1, max_size=3))
    return Visibility(
        prefix_B=torch.tensor(prefixes, dtype=torch.int32),
        video_start=video_start,
        bidirectional_prefix=draw(st.booleans()),
        frame_tokens=frame_tokens,
        frame_offset=draw(st.integers(0, frame_tokens)),
        bidirectional_frames=draw(st.booleans()),
        window_frames=draw(st.none() | st.integers(1, 4)),
    )


query_starts, counts = st.integers(0, 30), st.integers(1, 25)


def sees(v: Visibility, prefix: int, query: int, key: int) -> bool:
    """The definition, in words rather than in arithmetic."""
    if key == query:
        return True
    if query < prefix:
        return key < prefix and (v.bidirectional_prefix or key < query)
    if query < v.video_start:
        return False
    if key < v.video_start:
        return key < prefix
    frames = [-1] * v.frame_offset + [frame for frame in range(99) for _ in range(v.frame_tokens)]
    frame, key_frame = frames[query - v.video_start], frames[key - v.video_start]
    if v.window_frames is not None and key_frame <= frame - v.window_frames:
        return False
    return key < query or (v.bidirectional_frames and key_frame == frame)


@FAST
@given(visibilities(), query_starts, counts, counts)
def test_dense_mask_is_the_definition(v: Visibility, query_start: int, num_queries: int, num_keys: int):
    queries = range(query_start, query_start + num_queries)
    expected = [[[sees(v, p, q, k) for k in range(num_keys)] for q in queries] for p in v.prefix_B.tolist()]
    assert v.dense(query_start, num_queries, num_keys).tolist() == expected


@FAST
@given(visibilities(), query_starts, counts)
def test_intervals_are_disjoint_and_hold_the_row_itself(v: Visibility, query_start: int, num_queries: int):
    prefix_BM, low_BM, high_BM = limits = v.intervals(query_start, num_queries)
    row_M = torch.arange(query_start, query_start + num_queries)
    assert all(limit.dtype == torch.int32 and limit.shape == (len(v.prefix_B), num_queries) for limit in limits)
    assert ((prefix_BM >= 0) & (prefix_BM <= low_BM) & (low_BM <= row_M) & (row_M <= high_BM)).all()


@FAST
@given(visibilities(), query_starts, counts, st.integers(0, 10))
def test_key_slices_hold_all_that_is_seen_and_end_at_keys_that_can_be(
    v: Visibility, query_start: int, num_queries: int, further_keys: int
):
    num_keys = query_start + num_queries + further_keys
    slices = v.key_slices(query_start, num_queries, num_keys)
    reached = torch.zeros(num_keys, dtype=torch.bool)
    for keys in slices:
        reached[keys] = True
    assert not v.dense(query_start, num_queries, num_keys)[..., ~reached].any()
    queries = range(query_start, query_start + num_queries)
    for end in {keys.start for keys in slices} | {keys.stop - 1 for keys in slices}:
        assert any(sees(v, prefix, query, end) for query in queries for prefix in range(v.video_start + 1))


@FAST
@given(visibilities(), st.integers(0, 24), st.data())
def test_rows_decoded_later_see_what_they_see_in_training(v: Visibility, query_start: int, data: st.DataObject):
    num_queries = data.draw(st.integers(1, 25 - query_start))
    whole_BNN = v.dense(0, 25, 25)
    assert v.dense(query_start, num_queries, 25).equal(whole_BNN[:, query_start : query_start + num_queries])


def test_causal_is_the_triangle():
    assert Visibility.causal(2).dense(0, 4, 4).equal(torch.ones(2, 4, 4).tril().bool())


@pytest.mark.parametrize(
    "setting, word",
    [
        ({"prefix_B": torch.tensor([1, 2])}, "prefix_B is torch.int64"),
        ({"prefix_B": torch.tensor([5], dtype=torch.int32)}, "video_start=4"),
        ({"prefix_B": torch.tensor([-1], dtype=torch.int32)}, "prefix_B spans -1"),
        ({"video_start": -1}, "video_start is -1"),
        ({"frame_tokens": 0}, "frame_tokens is 0"),
        ({"frame_offset": 2}, "frame_offset is 2"),
        ({"window_frames": 0}, "window_frames is 0"),
    ],
)
def test_contradictions_are_refused_by_name(setting: dict, word: str):
    good = {"prefix_B": torch.tensor([3], dtype=torch.int32), "video_start": 4}
    with pytest.raises(ValueError, match=word):
        Visibility(**(good | setting))


def test_once_builds_again_only_for_another_key():
    v, built = Visibility.causal(1), []
    for key in (1, 1, 2, 2, 1):
        v.once("mask", key, lambda key=key: built.append(key))
    assert built == [1, 2, 1]


def test_moving_keeps_every_setting():
    v = Visibility(prefix_B=torch.tensor([2], dtype=torch.int32), video_start=3, frame_tokens=4, window_frames=2)
    moved = v.to("meta")
    assert moved.prefix_B.device.type == "meta"
    assert (moved.video_start, moved.frame_tokens, moved.window_frames) == (3, 4, 2)
