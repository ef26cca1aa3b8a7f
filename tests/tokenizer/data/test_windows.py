"""Windows of clips: which frames and pixels are cut out, and what becomes of clips that cannot be decoded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.skipped import SkippedClips
from videogpt_tokenizer.data.windows import ClipDataset, ClipWindow, cut


def test_a_window_is_a_pure_function_of_seed_epoch_and_index(numbered: Path) -> None:
    window = ClipWindow(num_frames=5, size=16, max_frame_stride=3, flip=True, crop_margin=4, seed=1)
    first, second = (ClipDataset(ClipFolder(numbered), window, cache=cache) for cache in (True, False))
    other = ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=5, size=16, seed=2))
    items = [(index, epoch) for epoch in range(3) for index in range(12)]
    for index, epoch in items:
        assert first.item(index, epoch).frames_THWC.equal(second.item(index, epoch).frames_THWC)
    differ = [not first.item(i, e).frames_THWC.equal(other.item(i, e).frames_THWC) for i, e in items]
    assert sum(differ) > 30
    moved = [not first.item(i, 0).frames_THWC.equal(first.item(i, 1).frames_THWC) for i in range(12)]
    assert sum(moved) > 9


def test_windows_reach_every_start_and_stride_and_no_further() -> None:
    frames_THWC = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 4, 4, 3)
    window = ClipWindow(num_frames=4, size=4, max_frame_stride=5)
    found = set()
    for seed in range(200):
        numbers = cut(frames_THWC, window, np.random.default_rng(seed))[:, 0, 0, 0].tolist()
        stride = numbers[1] - numbers[0]
        assert numbers == list(range(numbers[0], numbers[0] + 4 * stride, stride))
        found.add((numbers[0], stride))
    assert found == {(start, 1) for start in range(6)} | {(start, 2) for start in range(3)}


def test_flip_and_crop_reach_every_place() -> None:
    frames_THWC = torch.arange(6, dtype=torch.uint8)[None, None, :, None].expand(1, 6, 6, 3)
    window = ClipWindow(num_frames=1, size=4, flip=True, crop_margin=2)
    rows = {tuple(cut(frames_THWC, window, np.random.default_rng(seed))[0, 0, :, 0].tolist()) for seed in range(60)}
    assert rows == {(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 2, 1, 0), (4, 3, 2, 1), (5, 4, 3, 2)}


def test_validation_takes_the_first_frames(numbered: Path) -> None:
    clips = ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=5, size=16, seed=None))
    for epoch in (0, 7):
        frames_THWC = clips.item(3, epoch).frames_THWC
        assert frames_THWC[:, 0, 0, 1].tolist() == [0, 5, 10, 15, 20]
        assert frames_THWC[:, 0, 0, 0].tolist() == [30] * 5
    assert clips.memory_bytes == 12 * 5 * 16 * 16 * 3


@pytest.mark.parametrize("cache", [True, False])
def test_a_short_clip_holds_its_last_frame_and_is_counted(numbered: Path, cache: bool, caplog) -> None:
    caplog.set_level("INFO")
    clips = ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=23, size=16, max_frame_stride=4), cache=cache)
    assert clips.item(0, 0).frames_THWC[:, 0, 0, 1].tolist() == [*range(0, 100, 5), 95, 95, 95]
    assert caplog.text.count("12 are shorter than 23 frames") == 1


def test_fps_and_size_are_those_wanted(numbered: Path) -> None:
    clips = ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=4, size=(8, 12), fps=4, seed=None))
    frames_THWC = clips.item(0, epoch=0).frames_THWC
    assert frames_THWC.shape == (4, 8, 12, 3)
    assert frames_THWC[:, 4, 4, 1].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("cache", [True, False])
def test_bad_clips_are_left_out_counted_and_named(damaged: Path, cache: bool) -> None:
    with pytest.warns(UserWarning, match=r"left out 2 of 12 clips.*clip04.avi: is empty.*clip07.avi"):
        skipped = SkippedClips(12, max_share=0.2)
        clips = ClipDataset(ClipFolder(damaged), ClipWindow(num_frames=5, size=16), cache=cache, skipped=skipped)
    assert len(clips) == 10
    assert [Path(name).name for name in clips.skipped.names] == ["clip04.avi", "clip07.avi"]
    assert all(clips.item(index, 0).frames_THWC[0, 0, 0, 0] not in (40, 70) for index in range(10))


def test_a_folder_of_bad_clips_alone_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for total in (1, 20):  # the whole folder, or the side of a split
        with pytest.raises(ValueError, match="none of 1 clips can be used: .*a.mp4"):
            ClipDataset(ClipFolder(tmp_path), ClipWindow(), skipped=SkippedClips(total, max_share=1))


def test_a_clip_that_is_damaged_behind_what_was_checked_gives_its_first_frames(numbered: Path, break_reading) -> None:
    break_reading("clip03.avi", RuntimeError("a decoder gave up"), behind=5)
    clips = ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=5, size=16, max_frame_stride=3), cache=False)
    said = r"only the first 5 frames are used: .*clip03\.avi: cannot be decoded \(a decoder gave up\)"
    with pytest.warns(UserWarning, match=said):
        frames_THWC = clips.item(3, epoch=0).frames_THWC
    assert frames_THWC[:, 0, 0, 0].tolist() == [30] * 5 and frames_THWC[:, 0, 0, 1].tolist() == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("error", [AttributeError("no codec"), UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "tag"),
                                   MemoryError(), OSError(5, "Input/output error")])  # fmt: skip
def test_whatever_a_decoder_raises_is_one_skipped_clip(numbered: Path, break_reading, error: Exception) -> None:
    break_reading("clip03.avi", error)
    skipped = SkippedClips(12, max_share=0.1)
    with pytest.warns(UserWarning, match=r"left out 1 of 12 clips .*clip03\.avi: "):
        assert len(ClipDataset(ClipFolder(numbered), ClipWindow(num_frames=5, size=16), skipped=skipped)) == 11
    assert len(skipped.reasons) == 1 and "clip03.avi: " in skipped.reasons[0]
