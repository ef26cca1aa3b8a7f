"""Tiles to visit against brute force: all that hold something visible, and none outside of their hull."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels import Document, Visibility
from videogpt_kernels.tile_window import TileWindow
from videogpt_kernels.tiles import Plan, TileShape, key_ranges, plan_tiles, query_ranges, row_limits

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
    body_start = random.randint(0, 20)
    prefix_B = torch.tensor([random.randint(0, body_start) for _ in range(batch)], dtype=torch.int32)
    return Visibility.prefix_body(prefix_B, body_start, **rules)


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

        ranges_BT4 = key_ranges(row_limits(visibility, query_start, rows), keys, shape)
        prefix_first, prefix_end, first, end = ranges_BT4.unbind(-1)
        assert ((prefix_first >= 0) & (prefix_first <= prefix_end) & (prefix_end <= first) & (first <= end)).all()
        tiles = needed_BTS.shape[2]
        visited_BTS = inside(prefix_first, prefix_end, tiles) | inside(first, end, tiles)
        assert end.max() <= tiles
        assert (visited_BTS | ~needed_BTS).all() and (hull(needed_BTS) | ~visited_BTS).all()

        first, end = query_ranges(ranges_BT4, keys, shape).unbind(-1)
        assert inside(first, end, needed_BTS.shape[1]).equal(hull(visited_BTS.mT))


def test_what_lies_between_the_text_and_the_window_is_skipped():
    """17 frames of 32 x 32, of which the last 4 are seen: about 2.8 times fewer tiles than of all before."""
    prefix_B, shape, rows = torch.tensor([64], dtype=torch.int32), TileShape(128, 64), 128 + 17 * 1024
    windowed = Visibility.prefix_body(prefix_B, 128, frame_tokens=1024, frame_offset=0, window_frames=4)
    prefix_first, prefix_end, first, end = key_ranges(row_limits(windowed, 0, rows), rows, shape).unbind(-1)
    causal = key_ranges(row_limits(Visibility.causal(1), 0, rows), rows, shape)
    assert (causal[..., 3] - causal[..., 2]).sum() > 2.6 * (prefix_end - prefix_first + end - first).sum()


@pytest.mark.parametrize("seed", range(30))
def test_lists_of_a_tile_window_are_what_is_needed(seed: int):
    random.seed(seed)
    window = TileWindow(
        tile_tokens=16,
        tiles_high=random.randint(1, 3),
        tiles_wide=random.randint(1, 3),
        reach_high=random.randint(0, 1),
        reach_wide=random.randint(0, 1),
    )
    body_start = random.randint(0, 20)
    visibility = Visibility.prefix_body(
        torch.tensor([body_start // 2, body_start], dtype=torch.int32),
        body_start,
        frame_tokens=window.frame_tokens,
        frame_offset=random.randint(0, 1),
        bidirectional_frames=random.random() < 0.5,
        window_frames=random.choice([None, 1, 2]),
        tile_window=window,
    )
    query_start, rows = random.choice([0, random.randint(0, 40)]), random.randint(1, 200)
    keys, shape = query_start + rows + random.choice([0, 11]), TileShape(random.choice([8, 16]), random.choice([8, 16]))
    plan, back = (plan_tiles(visibility, query_start, rows, keys, shape, reverse) for reverse in (False, True))
    before_rows, before_keys = plan.margins
    visible_BMN = F.pad(visibility.dense(query_start, rows, keys), (before_keys, 0, before_rows, 0))
    needed_TS = needed(visible_BMN, shape).any(0)

    def listed(plan: Plan, others: int) -> Tensor:
        found = torch.zeros(plan.tiles, others, dtype=torch.bool)
        for tile, (count, *numbers) in enumerate(plan.visits.tolist()):
            found[tile, numbers[:count]] = True
        return found

    visited_TS = listed(plan, needed_TS.shape[1])
    assert (visited_TS | ~needed_TS).all()
    first_code = body_start + visibility.frame_offset
    before_codes_S = torch.arange(needed_TS.shape[1]) * shape.keys - before_keys < first_code
    assert not (visited_TS & ~needed_TS)[:, ~before_codes_S].any(), "a tile of the video is visited for nothing"
    assert listed(back, len(needed_TS)).equal(visited_TS.mT)


def test_plans_are_computed_where_the_visibility_lies():
    window = TileWindow(tile_tokens=16, tiles_high=1, tiles_wide=2, reach_high=0, reach_wide=0)
    prefix_B = torch.zeros(2, dtype=torch.int32, device="meta")
    for visibility in (
        Visibility.causal(2, "meta"),
        Visibility.prefix_body(prefix_B, 3, frame_tokens=32, tile_window=window),
    ):
        for reverse in (False, True):
            assert plan_tiles(visibility, 0, 40, 40, TileShape(16, 16), reverse).visits.device.type == "meta"
