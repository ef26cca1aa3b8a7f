"""Batches of clips: from a folder through the split to tensors. That they resume is tested of mixtures of them."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.data.batches import ClipDataModule


def module(folder: Path, **settings: Any) -> ClipDataModule:
    return ClipDataModule(str(folder), **{"num_frames": 5, "size": 16, "batch_size": 4, **settings})


def test_too_many_bad_clips_stop_the_run(damaged: Path) -> None:
    data = module(damaged, max_bad_share=0.1, validation_folder=str(damaged))
    with pytest.raises(ValueError, match=r"2 of the first 8 .*max_bad_share=0.1 of all 12: .*clip04.avi.*clip07.avi"):
        data.setup("fit")


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


IMPOSSIBLE = "validation_fraction=0 max_bad_share=2 num_frames=0 size=0 fps=-1 max_frame_stride=0 crop_margin=-1"


@pytest.mark.parametrize("setting", IMPOSSIBLE.split())
def test_impossible_settings_are_refused(setting: str) -> None:
    name, value = setting.split("=")
    with pytest.raises(ValueError, match=setting):
        module(Path("clips"), **{name: int(value)})


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


def test_built_from_yaml(numbered: Path) -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(ClipDataModule, "data")
    config = parser.parse_string(f"data:\n  folder: {numbered}\n  size: [16, 24]\n  fps: 8\n  num_frames: 5\n")
    data = parser.instantiate(config).data
    assert next(iter(data.val_dataloader()))["video"].shape[1:] == (3, 5, 16, 24)


def test_real_natural_clips_are_split_by_repository(real_data: Path) -> None:
    data = ClipDataModule(str(real_data / "natural"), validation_column="repo", size=32)
    sources = {record.fields["repo"] for record in data.validation.records}
    assert sources and len(data.captions()) + len(data.validation) == 368
    assert next(iter(data.val_dataloader()))["video"].shape[1:] == (3, 17, 32, 32)


def test_what_a_folder_holds_beside_its_clips_is_told_once(numbered: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    with tarfile.open(tmp_path / "00.tar", "w") as archive:
        for path in sorted(numbered.iterdir()):
            archive.add(path, path.name)
            (tmp_path / "film.json").write_text(json.dumps({"caption": path.stem, "film": path.stem[:5]}))
            archive.add(tmp_path / "film.json", f"{path.stem}.json")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    data = ClipDataModule(str(tmp_path), num_frames=5, size=16, validation_column="film", batch_size=2)
    data.setup("fit")
    told = [record.getMessage() for record in caplog.records if "left aside" in record.getMessage()]
    what = "2 of 26 files are left aside: 1 dangling link (gone.mp4), 1 other suffix (film.json)"
    assert told == [f"{tmp_path}: {what}"]
    sides = [{record.fields["film"] for record in side.records} for side in (data.training, data.validation)]
    assert sides[0] | sides[1] == {"clip0", "clip1"} and not sides[0] & sides[1]
    batch = next(iter(data.val_dataloader()))
    number = int(batch["caption"][0].removeprefix("clip"))
    assert batch["video"][0, 0].add(1).mul(127.5).round().unique().tolist() == [10 * number]


def test_nothing_is_told_where_nothing_is_left_aside(numbered: Path, caplog) -> None:
    caplog.set_level("INFO")
    ClipDataModule(str(numbered), num_frames=5, size=16).setup("fit")
    assert not [record for record in caplog.records if "left aside" in record.getMessage()]
