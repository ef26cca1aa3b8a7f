"""Tiles to visit against brute force: all that hold something visible, and none outside of their hull."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels import Document, Visibility
from videogpt_kernels.tiles import TileShape, key_visits, query_visits, row_limits

# B batch, M query rows, N key rows, T tiles of query rows, S tiles of key rows


def random_visibility(batch: int) -> Visibility:
    frame_tokens = random.randint(1, 9)
    rules = {
        "bidirectional_prefix": random.random() < 0.5,
        "frame_tokens": frame_tokens,
        "frame_offset": random.randint(0, frame_tokens),
        "bidirectional_frames": random.random() < 0.5,
        "window_frames": random.choice([None, 1, 2, 3]),
    }
    if random.random() < 0.5:
        lengths = [[(random.randint(0, 9), random.randint(0, 25)) for _ in range(3)] for _ in range(batch)]
        return Visibility.packed([[Document(*two) for two in documents] for documents in lengths], **rules)
    video_start = random.randint(0, 20)
    prefix_B = torch.tensor([random.randint(0, video_start) for _ in range(batch)], dtype=torch.int32)
    return Visibility.text_video(prefix_B, video_start, **rules)


def needed(visible_BMN: Tensor, shape: TileShape) -> Tensor:
    """Whether anything in a tile is visible: BTS."""
    _, rows, keys = visible_BMN.shape
    padded = F.pad(visible_BMN, (0, -keys % shape.keys, 0, -rows % shape.queries))
    return padded.unflatten(2, (-1, shape.keys)).unflatten(1, (-1, shape.queries)).any(2).any(-1)


def hull(x_BTS: Tensor) -> Tensor:
    """True from the first to the last True of the last axis."""
    return (x_BTS.cumsum(-1) > 0) & (x_BTS.flip(-1).cumsum(-1).flip(-1) > 0)


def inside(first: Tensor, end: Tensor, count: int) -> Tensor:
    return (torch.arange(count) >= first[..., None]) & (torch.arange(count) < end[..., None])


@pytest.mark.parametrize("seed", range(20))
def test_visits_are_what_is_needed(seed: int):
    random.seed(seed)
    for _ in range(100):
        visibility = random_visibility(batch=random.randint(1, 3))
        query_start, rows = random.choice([0, random.randint(0, 30)]), random.randint(1, 70)
        keys = query_start + rows + random.choice([0, random.randint(1, 20)])
        shape = TileShape(random.choice([4, 16]), random.choice([4, 16]))
        needed_BTS = needed(visibility.dense(query_start, rows, keys), shape)

        visits_BT4 = key_visits(row_limits(visibility, query_start, rows), keys, shape)
        prefix_first, prefix_end, first, end = visits_BT4.unbind(-1)
        assert ((0 <= prefix_first) & (prefix_first <= prefix_end) & (prefix_end <= first) & (first <= end)).all()
        tiles = needed_BTS.shape[2]
        visited_BTS = inside(prefix_first, prefix_end, tiles) | inside(first, end, tiles)
        assert end.max() <= tiles
        assert (visited_BTS | ~needed_BTS).all() and (hull(needed_BTS) | ~visited_BTS).all()

        first, end = query_visits(visits_BT4, keys, shape).unbind(-1)
        assert inside(first, end, needed_BTS.shape[1]).equal(hull(visited_BTS.mT))


def test_what_lies_between_the_text_and_the_window_is_skipped():
    """17 frames of 32 x 32, of which the last 4 are seen: about 2.8 times fewer tiles than of all before."""
    prefix_B, shape, rows = torch.tensor([64], dtype=torch.int32), TileShape(128, 64), 128 + 17 * 1024
    windowed = Visibility.text_video(prefix_B, 128, frame_tokens=1024, frame_offset=0, window_frames=4)
    prefix_first, prefix_end, first, end = key_visits(row_limits(windowed, 0, rows), rows, shape).unbind(-1)
    causal = key_visits(row_limits(Visibility.causal(1), 0, rows), rows, shape)
    assert (causal[..., 3] - causal[..., 2]).sum() > 2.6 * (prefix_end - prefix_first + end - first).sum()


def test_plans_are_computed_where_the_visibility_lies():
    limits_B4M = row_limits(Visibility.causal(2, "meta"), 0, 40)
    visits_BT4 = key_visits(limits_B4M, 40, TileShape(16, 16))
    assert query_visits(visits_BT4, 40, TileShape(16, 16)).device.type == "meta"
