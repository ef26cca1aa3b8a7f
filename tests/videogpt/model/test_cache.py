"""The key/value cache: whatever is appended, rewound, wrapped and forked, the logits are those without a cache."""

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.cache import KVCache
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt_kernels import TileWindow, Visibility, decode_attention, write_cache

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CONFIG = VideoGPTConfig(vocab_size=40, width=32, depth=2, heads=4, kv_heads=2)
VIDEO_START, FRAME, MOST_ROWS = 5, 4, 6
PREFIXES = (5, 0, 3)
WINDOW = {"frame_tokens": FRAME, "window_frames": 2}
TILES = TileWindow(tile_tokens=2, tiles_high=1, tiles_wide=2, reach_high=0, reach_wide=0)
RULES: dict[str, dict[str, Any]] = {
    "causal": {},
    "bidirectional text": {"bidirectional_prefix": True},
    "window": WINDOW,
    "tile window": WINDOW | {"tile_window": TILES},
}
RING = 2 * FRAME + MOST_ROWS - 1
NORM = 1e-4
INT8_NORM = 2e-2


@pytest.fixture(scope="module")
def model() -> VideoGPT:
    torch.manual_seed(0)
    return VideoGPT(CONFIG).eval().to(DEVICE)


def sequence_of(ids: list[list[int]], starts: int | list[int], prefixes: list[int], rules: Any) -> TokenSequence:
    """Rows start.. of sequences; every row has a place of its own."""
    ids_BN = torch.tensor(ids)
    row_BN = torch.tensor(starts).view(-1, 1) + torch.arange(ids_BN.shape[1])
    positions_BN3 = torch.stack([row_BN // FRAME, row_BN % FRAME // 2, row_BN % 2], dim=-1).expand(len(ids), -1, 3)
    visibility = Visibility.prefix_body(torch.tensor(prefixes, dtype=torch.int32), VIDEO_START, **rules)
    return TokenSequence(ids_BN=ids_BN, positions_BN3=positions_BN3, visibility=visibility).to(DEVICE)


class Scene:
    """Sequences in a cache, and the same as plain lists of ids."""

    def __init__(self, model: VideoGPT, rules: dict[str, Any], prompt_rows: int = VIDEO_START + 1, **room: Any) -> None:
        self.model, self.rules = model, rules
        room = {"rows": 60, "batch": 6, "device": DEVICE} | room
        self.cache = KVCache(CONFIG, prompts=len(PREFIXES), prompt_rows=prompt_rows, **room)
        self.ids = [[] for _ in PREFIXES]
        self.prefixes = list(PREFIXES)
        self.random = torch.Generator().manual_seed(7)
        self.append(prompt_rows)

    def append(self, rows: int) -> torch.Tensor:
        """New rows of all sequences; their logits (B, M, V)."""
        new = torch.randint(CONFIG.vocab_size, (len(self.ids), rows), generator=self.random).tolist()
        with torch.no_grad():
            logits = self.model(sequence_of(new, list(map(len, self.ids)), self.prefixes, self.rules), self.cache)
        self.ids = [old + new_ids for old, new_ids in zip(self.ids, new, strict=True)]
        return logits

    def rewind(self, counts: list[int]) -> None:
        counts = [min(count, len(ids) - self.cache.prompt_rows) for count, ids in zip(counts, self.ids, strict=False)]
        self.cache.rewind(counts)
        self.ids = [ids[: len(ids) - count] for ids, count in zip(self.ids, counts, strict=True)]

    def fork(self, sources: list[int]) -> None:
        self.cache.fork(sources)
        self.ids, self.prefixes = ([x[i] for i in sources] for x in (self.ids, self.prefixes))

    @torch.no_grad()
    def exact(self, rows: int) -> torch.Tensor:
        """Logits of the last rows, from a forward pass over each whole sequence alone."""
        pairs = zip(self.ids, self.prefixes, strict=True)
        whole = [self.model(sequence_of([ids], 0, [prefix], self.rules)) for ids, prefix in pairs]
        return torch.cat([logits_1NV[:, -rows:] for logits_1NV in whole])

    def assert_agrees(self, logits: torch.Tensor, norm: float = NORM) -> None:
        exact = self.exact(logits.shape[1])
        assert not logits.isnan().any()
        assert float((logits - exact).norm() / exact.norm()) < norm


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, MOST_ROWS)),
        st.tuples(st.just("rewind"), st.lists(st.integers(0, MOST_ROWS), min_size=6, max_size=6)),
        st.tuples(st.just("fork"), st.lists(st.integers(0, 5), min_size=1, max_size=6)),
    ),
    max_size=14,
)


@pytest.mark.parametrize("name", RULES)
@given(schedule=operations)
@settings(max_examples=25, deadline=None)
def test_any_schedule_gives_the_logits_of_whole_sequences(model, name: str, schedule: list[tuple[str, Any]]) -> None:
    scene = Scene(model, RULES[name], rows=RING if "window" in name else 90)
    written = 0  # since the last rewind: more may not be taken back, or the ring has lost what was seen then
    for operation, value in [*schedule, ("append", 1)]:
        if operation == "append":
            scene.assert_agrees(scene.append(value))
            written = value
        elif operation == "rewind":
            scene.rewind([min(count, written) for count in value[: scene.cache.batch]])
            written = 0
        else:
            scene.fork([source % scene.cache.batch for source in value])
    assert scene.cache.lengths == [len(ids) for ids in scene.ids]


def choose(impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (decode_attention, write_cache):
        monkeypatch.setattr(f"videogpt.model.network.{function.__name__}", partial(function, impl=impl))


@pytest.mark.parametrize("name", ["window", "tile window"])
def test_the_kernels_do_the_same(model: VideoGPT, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose("triton", monkeypatch)
    scene = Scene(model, RULES[name], rows=2 * FRAME + 1)
    scene.assert_agrees(scene.append(2))
    scene.fork([0, 0, 2])
    for rows in (2, 2, 2, 1, 2):
        scene.assert_agrees(scene.append(rows))
    scene.rewind([1, 0, 2])
    scene.assert_agrees(scene.append(2))


@pytest.mark.parametrize("name", RULES)
def test_int8_stays_close(model: VideoGPT, name: str) -> None:
    scene = Scene(model, RULES[name], rows=60, dtype=torch.int8)
    for rows in (1, 3, 1, MOST_ROWS, 1):
        scene.assert_agrees(scene.append(rows), INT8_NORM)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8], ids=str)
def test_rewound_and_replayed_is_never_speculated(model: VideoGPT, dtype: torch.dtype) -> None:
    plain, rejected = (Scene(model, RULES["window"], rows=RING, dtype=dtype) for _ in range(2))
    for _ in range(12):
        state = rejected.random.get_state()
        rejected.append(MOST_ROWS)
        rejected.rewind([MOST_ROWS] * 3)
        rejected.random.set_state(state)
        torch.testing.assert_close(rejected.append(1), plain.append(1), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8], ids=str)
@torch.autocast(DEVICE, torch.bfloat16)
def test_autocast_changes_little(model: VideoGPT, dtype: torch.dtype) -> None:
    scene = Scene(model, RULES["window"], rows=RING, dtype=dtype)
    for rows in (1, 3, 1):
        scene.assert_agrees(scene.append(rows).float(), INT8_NORM)
    scene.fork([1, 0, 0])
    scene.assert_agrees(scene.append(2).float(), INT8_NORM)


def test_a_prompt_is_shared_not_copied(model: VideoGPT) -> None:
    scene = Scene(model, {})
    for pool in scene.cache.pools:
        assert pool.keys_GSD.shape[1] == 3 * (VIDEO_START + 1) + 6 * 60
    before = [pool.keys_GSD.clone() for pool in scene.cache.pools]
    scene.fork([0, 0, 1, 1, 2, 2])
    assert all(pool.keys_GSD.equal(old) for pool, old in zip(scene.cache.pools, before, strict=True))
    scene.assert_agrees(scene.append(2))


def test_with_and_without_a_prompt_only_the_first_layer_is_alike(model: VideoGPT) -> None:
    """Why the rows of guidance share no video: what they have in common ends with the embedding."""
    ids = torch.randint(CONFIG.vocab_size, (1, 20)).tolist()
    caches = [KVCache(CONFIG, prompts=1, rows=20, device=DEVICE) for _ in range(2)]
    for cache, prefix in zip(caches, (5, 0), strict=True):
        with torch.no_grad():
            model(sequence_of(ids, 0, [prefix], {}), cache)
    first, second = ([cache.pools[layer].values_GSD[:, VIDEO_START:] for cache in caches] for layer in range(2))
    torch.testing.assert_close(*first)
    assert not torch.allclose(*second, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8], ids=str)
def test_memory_is_known_beforehand(dtype: torch.dtype) -> None:
    room = {"prompts": 3, "prompt_rows": 6, "rows": 10, "batch": 4, "dtype": dtype}
    cache = KVCache(CONFIG, **room)
    rows = 2 * CONFIG.depth * CONFIG.kv_heads * (3 * 6 + 4 * 10)
    row_bytes = CONFIG.head_dim * dtype.itemsize + (4 if dtype == torch.int8 else 0)
    assert cache.memory_bytes == rows * row_bytes == KVCache(CONFIG, **room, device="meta").memory_bytes


def test_reset_starts_again_in_the_same_memory(model: VideoGPT) -> None:
    scene = Scene(model, {})
    memory = scene.cache.pools[0].keys_GSD.data_ptr()
    scene.fork([2, 1])
    scene.append(3)
    scene.cache.reset()
    scene.ids, scene.prefixes = [[] for _ in PREFIXES], list(PREFIXES)
    scene.assert_agrees(scene.append(9))
    assert scene.cache.pools[0].keys_GSD.data_ptr() == memory and scene.cache.length == 9


def test_rows_beyond_the_room_are_refused_before_anything_is_written(model: VideoGPT) -> None:
    scene = Scene(model, {}, rows=4)
    scene.append(3)
    held = [pool.keys_GSD.clone() for pool in scene.cache.pools]
    with pytest.raises(ValueError, match=r"rows 9\.\.10 do not fit into a cache of 6 of the prompt and 4 later ones"):
        scene.append(2)
    assert scene.cache.length == 9
    assert all(pool.keys_GSD.equal(x) for pool, x in zip(scene.cache.pools, held, strict=True))
    scene.assert_agrees(scene.append(1))


@pytest.mark.parametrize(
    "room, word",
    [
        ({"rows": 2 * FRAME - 1}, "row 10 would be lost, which is visible still"),
        ({"rows": RING, "prompt_rows": VIDEO_START - 1}, "would be lost"),
    ],
)
def test_a_ring_shorter_than_the_window_or_without_the_text_is_refused(model: VideoGPT, room: Any, word: str) -> None:
    scene = Scene(model, RULES["window"], **room)
    with pytest.raises(ValueError, match=word):
        for _ in range(4):
            scene.assert_agrees(scene.append(MOST_ROWS))


def test_rewinding_further_than_the_ring_remembers_is_refused_at_the_next_step(model: VideoGPT) -> None:
    scene = Scene(model, RULES["window"], rows=RING)
    for _ in range(5):
        scene.append(MOST_ROWS)
    scene.rewind([2 * MOST_ROWS] * 3)
    with pytest.raises(ValueError, match="would be lost"):
        scene.append(1)


def test_a_prompt_cannot_be_rewound(model: VideoGPT) -> None:
    scene = Scene(model, {})
    scene.append(2)
    too_many = "cannot rewind 3 of 8 rows, 6 of them the prompt's"
    for counts, word in ((3, too_many), (-1, "cannot rewind -1"), ([1], "1 num")):
        with pytest.raises(ValueError, match=word):
            scene.cache.rewind(counts)
    assert scene.cache.lengths == [8, 8, 8]


def test_misfits_are_refused_by_name(model: VideoGPT) -> None:
    scene = Scene(model, {})
    for count, device, word in ((2, DEVICE, "2 sequences for a cache of 3"), (3, "meta", "is on meta, the cache on ")):
        with pytest.raises(ValueError, match=word):
            scene.cache.step(Visibility.causal(count, device), 1)
    too_many = "7 sequences: the cache has room for 1..6"
    for sources, word in (([0] * 7, too_many), ([], "0 sequences"), ([3], "sequence 3")):
        with pytest.raises(ValueError, match=word):
            scene.cache.fork(sources)
    for room in ({"rows": 0}, {"rows": 5, "batch": 2}, {"rows": 5, "prompt_rows": -1}):
        with pytest.raises(ValueError, match="make no cache"):
            KVCache(CONFIG, prompts=3, **room)
    scene.append(1)
    scene.rewind([0, 1, 0])
    unfinished = KVCache(CONFIG, prompts=1, prompt_rows=12, rows=5, batch=2)
    unfinished.advance(8)
    with pytest.raises(ValueError, match="holds 8 of 12 rows of its prompt"):
        unfinished.fork([0, 0])
    with pytest.raises(ValueError, match=r"hold \[7, 6, 7\] rows: read lengths"):
        _ = scene.cache.length


def test_layers_share_what_a_step_derives(model: VideoGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, asked = Scene(model, {}), []
    intervals_of = Visibility.intervals_of
    scene.fork([0, 0, 1])
    monkeypatch.setattr(Visibility, "intervals_of", lambda *args: asked.append(args) or intervals_of(*args))
    scene.append(1)
    assert len(asked) == 1


@pytest.mark.parametrize("impl", ["torch", "triton"])
def test_a_step_compiles_into_one_graph_for_every_length(model: VideoGPT, impl: str, monkeypatch) -> None:
    choose(impl, monkeypatch)
    scene = Scene(model, {})
    hidden = torch.compile(model.hidden, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        for count in range(4):
            sequence = sequence_of([[count]] * 3, scene.cache.length, scene.prefixes, {})
            with torch.compiler.set_stance("fail_on_recompile" if count > 1 else "default"):
                found = hidden(sequence, scene.cache)
            scene.cache.rewind(1)
            torch.testing.assert_close(found, model.hidden(sequence, scene.cache))


def test_counting_alone_leaves_the_device_to_a_graph(model: VideoGPT) -> None:
    scene = Scene(model, {})
    step = dataclasses.replace(scene.cache.step(sequence_of([[1]] * 3, 0, [0] * 3, {}).visibility, 1))
    scene.cache.count(1)
    assert scene.cache.length == 7 and step.places_B3[:, 0].tolist() == [6, 6, 6]
    scene.cache.advance(1)
    assert scene.cache.length == 8 and step.places_B3[:, 0].tolist() == [7, 7, 7]
