"""Batches of clips: windows, the split, bad clips, and all of it from a folder to a resumed loader."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.skipped import SkippedClips
from videogpt_tokenizer.data.batches import ClipDataModule
from videogpt_tokenizer.data.windows import ClipDataset, ClipWindow, cut


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips of 20 frames, 16 x 24, stored exactly; red tells the clip, green the frame, blue the half."""
    folder = tmp_path_factory.mktemp("numbered")
    for number in range(12):
        frames_THWC = torch.zeros(20, 16, 24, 3, dtype=torch.uint8)
        frames_THWC[..., 0] = 10 * number
        frames_THWC[..., 1] = 5 * torch.arange(20)[:, None, None]
        frames_THWC[:, :, 12:, 2] = 200
        Clip(frames_THWC, 8).write(folder / f"clip{number:02}.avi")
    return folder


def records(folder: Path) -> list[ClipRecord]:
    return list(ClipFolder(folder))


def module(folder: Path, **settings: Any) -> ClipDataModule:
    return ClipDataModule(str(folder), **{"num_frames": 5, "size": 16, "batch_size": 4, **settings})


# Windows


def test_a_window_is_a_pure_function_of_seed_epoch_and_index(numbered: Path) -> None:
    window = ClipWindow(num_frames=5, size=16, max_frame_stride=3, flip=True, crop_margin=4, seed=1)
    first, second = (ClipDataset(records(numbered), window, cache=cache) for cache in (True, False))
    other = ClipDataset(records(numbered), ClipWindow(num_frames=5, size=16, seed=2))
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
    clips = ClipDataset(records(numbered), ClipWindow(num_frames=5, size=16, seed=None))
    for epoch in (0, 7):
        frames_THWC = clips.item(3, epoch).frames_THWC
        assert frames_THWC[:, 0, 0, 1].tolist() == [0, 5, 10, 15, 20]
        assert frames_THWC[:, 0, 0, 0].tolist() == [30] * 5
    assert clips.memory_bytes == 12 * 5 * 16 * 16 * 3


@pytest.mark.parametrize("cache", [True, False])
def test_a_short_clip_holds_its_last_frame_and_is_counted(
    numbered: Path, cache: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clips = ClipDataset(records(numbered), ClipWindow(num_frames=23, size=16, max_frame_stride=4), cache=cache)
    assert clips.item(0, 0).frames_THWC[:, 0, 0, 1].tolist() == [*range(0, 100, 5), 95, 95, 95]
    assert caplog.text.count("12 are shorter than 23 frames") == 1


def test_fps_and_size_are_those_wanted(numbered: Path) -> None:
    clips = ClipDataset(records(numbered), ClipWindow(num_frames=4, size=(8, 12), fps=4, seed=None))
    frames_THWC = clips.item(0, epoch=0).frames_THWC
    assert frames_THWC.shape == (4, 8, 12, 3)
    assert frames_THWC[:, 4, 4, 1].tolist() == [0, 10, 20, 30]


# Bad clips


@pytest.fixture
def damaged(numbered: Path, tmp_path: Path) -> Path:
    """The numbered clips, of which two cannot be decoded."""
    folder = tmp_path / "damaged"
    shutil.copytree(numbered, folder)
    (folder / "clip04.avi").write_bytes(b"")
    (folder / "clip07.avi").write_bytes((folder / "clip07.avi").read_bytes()[:700])
    return folder


@pytest.mark.parametrize("cache", [True, False])
def test_bad_clips_are_left_out_counted_and_named(damaged: Path, cache: bool) -> None:
    with pytest.warns(UserWarning, match=r"left out 2 of 12 clips.*clip04.avi: is empty.*clip07.avi"):
        skipped = SkippedClips(12, max_share=0.2)
        clips = ClipDataset(records(damaged), ClipWindow(num_frames=5, size=16), cache=cache, skipped=skipped)
    assert len(clips) == 10
    assert [Path(name).name for name in clips.skipped.names] == ["clip04.avi", "clip07.avi"]
    assert all(clips.item(index, 0).frames_THWC[0, 0, 0, 0] not in (40, 70) for index in range(10))


def test_too_many_bad_clips_stop_the_run(damaged: Path) -> None:
    data = module(damaged, max_bad_share=0.1, validation_folder=str(damaged))
    with pytest.raises(ValueError, match=r"2 of the first 8 .*max_bad_share=0.1 of all 12: .*clip04.avi.*clip07.avi"):
        data.setup("fit")


def test_a_folder_of_bad_clips_alone_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for total in (1, 20):  # the whole folder, or the side of a split
        with pytest.raises(ValueError, match="none of 1 clips can be used: .*a.mp4"):
            ClipDataset(records(tmp_path), ClipWindow(), skipped=SkippedClips(total, max_share=1))


# The split


def test_a_column_keeps_its_groups_together(numbered: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    shutil.copytree(numbered, folder)
    rows = [f"clip{number:02}.avi,caption {number},film {number // 3}" for number in range(12)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,caption,film", *rows]))
    data = module(folder, validation_column="film", validation_fraction=0.3)
    sides = [{record.fields["film"] for record in side.records} for side in (data.training, data.validation)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]
    assert data.captions() == [record.caption for record in data.training.records]
    with pytest.raises(ValueError, match="no column 'movie'; there are 'file_name', 'caption', 'film'"):
        module(folder, validation_column="movie").captions()


def test_one_clip_cannot_be_split(tmp_path: Path, clip_file: Path) -> None:
    shutil.copy(clip_file, tmp_path / "only.mp4")
    with pytest.raises(ValueError, match="give a validation_folder"):
        module(tmp_path).setup("fit")
    data = module(tmp_path, validation_folder=str(tmp_path))
    assert len(data.training) == len(data.validation) == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"validation_fraction": 0}, "validation_fraction=0"),
        ({"max_bad_share": 2}, "max_bad_share=2"),
        ({"num_frames": 0}, "num_frames=0"),
        ({"size": 0}, "size=0"),
        ({"fps": -1}, "fps=-1"),
        ({"max_frame_stride": 0}, "max_frame_stride=0"),
        ({"crop_margin": -1}, "crop_margin=-1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(Path("clips"), **settings)


# Batches


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches(numbered: Path, num_workers: int) -> None:
    data = module(numbered, num_workers=num_workers, flip=True, crop_margin=2)
    batches = list(data.train_dataloader())
    assert sum(len(batch["caption"]) for batch in batches) == len(data.training)
    video_BCTHW = batches[0]["video"]
    assert (video_BCTHW.shape, video_BCTHW.dtype) == ((4, 3, 5, 16, 16), torch.float32)
    clip = Clip.from_video(video_BCTHW[0], 8)
    (red,) = clip.frames_THWC[..., 0].unique().tolist()
    greens = clip.frames_THWC[:, 8, 8, 1].tolist()
    assert red % 10 == 0 and greens == list(range(greens[0], greens[0] + 25, 5))
    assert {tuple(batch["video"].shape[1:]) for batch in data.val_dataloader()} == {(3, 5, 16, 16)}


def test_a_resumed_run_sees_the_same_windows(numbered: Path) -> None:
    def loader() -> Any:
        return module(numbered, max_frame_stride=2, flip=True).train_dataloader()

    uninterrupted, interrupted, resumed = loader(), loader(), loader()
    expected = [batch["video"] for _ in range(2) for batch in uninterrupted]
    next(iter(interrupted))
    resumed.load_state_dict(interrupted.state_dict())
    for batch, video_BCTHW in zip(resumed, expected[1:], strict=False):
        assert batch["video"].equal(video_BCTHW)


def test_built_from_yaml(numbered: Path) -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(ClipDataModule, "data")
    config = parser.parse_string(f"data:\n  folder: {numbered}\n  size: [16, 24]\n  fps: 8\n  num_frames: 5\n")
    data = parser.instantiate(config).data
    assert next(iter(data.val_dataloader()))["video"].shape[1:] == (3, 5, 16, 24)


# Real clips


def test_real_natural_clips_are_split_by_repository(real_data: Path) -> None:
    data = ClipDataModule(str(real_data / "natural"), validation_column="repo", size=32)
    sources = {record.fields["repo"] for record in data.validation.records}
    assert sources and len(data.captions()) + len(data.validation) == 368
    assert next(iter(data.val_dataloader()))["video"].shape[1:] == (3, 17, 32, 32)
