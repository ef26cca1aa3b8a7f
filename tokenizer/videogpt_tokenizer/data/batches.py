"""Folder of clips -> batches for training a video tokenizer.

    data = ClipDataModule(folder="my_clips", num_frames=17, size=64, batch_size=16)
    batch = next(iter(data.train_dataloader()))
    batch["video"], batch["caption"]          # float32 (B, 3, T, H, W) in [-1, 1]; list of str

Puts together what others do: `ClipFolder` finds the clips, `split_by_name` decides which of them validate,
`ClipDataset` cuts a window out of each, `ResumableLoader` orders them.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypedDict

import lightning
import torch
from einops import rearrange
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from videogpt_tokenizer.clips.clip import unit_range
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, SkippedClips, check_max_bad_share
from videogpt_tokenizer.data.loader import ResumableLoader
from videogpt_tokenizer.data.split import split_by_name
from videogpt_tokenizer.data.windows import ClipDataset, ClipItem, ClipWindow

# B batch, T frames, H height, W width, C colours


class ClipBatch(TypedDict):
    """Several windows."""

    video: Tensor  # BCTHW float32 in [-1, 1]
    caption: list[str]


class ClipDataModule(lightning.LightningDataModule):
    """Training and validation batches of clips.

    Args:
        folder: Clips to train on: see `ClipFolder` for the layouts.
        validation_folder: Clips to validate on. None keeps a part of `folder`.
        validation_fraction: The share of clips kept for validation, at least one.
        validation_column: Column of the metadata whose equal values stay on one side, such as the film that
            clips were cut from. None takes every clip for itself.
        file_column: Column of the metadata that names the file.
        caption_column: Column of the metadata that holds the caption.
        num_frames: Frames of a window; a shorter clip holds its last frame, and is counted.
        size: Height and width of the pictures, or one number for both: scaled to cover it, then the centre.
        fps: Frames per second that clips are resampled to; None takes every frame of the file.
        batch_size: Clips in a batch, for each process.
        max_frame_stride: A training window takes every frame, every second, ... or every one in so many.
        flip: Mirror every second training window, drawn. Not for captions that tell left from right.
        crop_margin: Pixels by which training clips are kept larger than `size`, for a window to be drawn.
        cache: Decode every clip once and keep its frames in memory as uint8 (64 x 64 takes 12 kB a frame);
            otherwise whenever it is asked for.
        max_bad_share: The share of clips that may be skipped since they cannot be decoded; more stop the run.
        seed: Of the order and of everything drawn.
        num_workers: Loading processes; 0 loads in the training process, which is enough for cached clips.
    """

    def __init__(
        self,
        folder: str,
        *,
        validation_folder: str | None = None,
        validation_fraction: float = 0.05,
        validation_column: str | None = None,
        file_column: str = "file_name",
        caption_column: str = "caption",
        num_frames: int = 17,
        size: int | tuple[int, int] = 64,
        fps: float | None = None,
        batch_size: int = 16,
        max_frame_stride: int = 1,
        flip: bool = False,
        crop_margin: int = 0,
        cache: bool = True,
        max_bad_share: float = MAX_BAD_SHARE,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction={validation_fraction} must lie between 0 and 1")
        check_max_bad_share(max_bad_share)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        self.folder, self.validation_folder = folder, validation_folder
        self.file_column, self.caption_column = file_column, caption_column
        self.validation_fraction, self.validation_column = validation_fraction, validation_column
        self.training_window = ClipWindow(
            num_frames=num_frames,
            size=size,
            fps=fps,
            max_frame_stride=max_frame_stride,
            flip=flip,
            crop_margin=crop_margin,
            seed=seed,
        )
        self.validation_window = replace(self.training_window, seed=None)  # which draws nothing
        self.batch_size, self.num_workers = batch_size, num_workers
        self.cache, self.max_bad_share, self.seed = cache, max_bad_share, seed

    def setup(self, stage: str) -> None:
        """Decode what the stage needs, so that a ValueError says what is wrong with the clips before any work."""
        for side in ("training", "validation") if stage == "fit" else ("validation",):
            getattr(self, side)

    def shapes(self) -> list[tuple[int, int, int]]:
        """Frames, height and width of the clips that it gives. Opens none."""
        return [(self.training_window.num_frames, *self.training_window.size_HW)]

    def of_few_clips(self) -> "ClipDataModule":
        """The same with a batch of clips to train on and to validate on: for a look at what it gives."""
        few = copy.copy(self)
        vars(few).pop("training", None)
        vars(few).pop("validation", None)
        vars(few)["_sides"] = tuple(side[: self.batch_size] for side in self._sides)
        return few

    def batches_per_epoch(self) -> tuple[int, int]:
        """Batches to train on and to validate on, in one process, if every clip can be decoded. Opens none."""
        training, validation = (-(-len(side) // self.batch_size) for side in self._sides)
        return training, validation

    def memory_bytes(self, few: "ClipDataModule") -> int:
        """What its decoded clips will take, if they are as long as the few."""
        looked_at = zip(self._sides, (few.training, few.validation), strict=True)
        return sum(len(records) * clips.memory_bytes // len(clips) for records, clips in looked_at)

    def captions(self) -> list[str]:
        """Captions of the training clips, to train a text tokenizer on. Opens no clip."""
        return [record.caption for record in self._sides[0]]

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled anew in every epoch; resumes within one."""
        return self._loader(self.training, shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        """The first frames of every validation clip, in order."""
        return self._loader(self.validation, shuffle=False)

    test_dataloader = val_dataloader

    @cached_property
    def training(self) -> ClipDataset:
        return self._dataset(self._sides[0], self.training_window)

    @cached_property
    def validation(self) -> ClipDataset:
        return self._dataset(self._sides[1], self.validation_window)

    @cached_property
    def _sides(self) -> tuple[list[ClipRecord], list[ClipRecord]]:
        """Clips to train on, and clips to validate on."""
        clips = self._clips(self.folder)
        if self.validation_folder is not None:
            return list(clips), list(self._clips(self.validation_folder))
        groups = [self._group(clips, record) for record in clips]
        training, validation = split_by_name(groups, self.validation_fraction)
        if not training:
            raise ValueError(f"{self.folder}: {len(clips)} clips of one kind cannot be split; give a validation_folder")
        return [clips[index] for index in training], [clips[index] for index in validation]

    def _clips(self, folder: str) -> ClipFolder:
        clips = ClipFolder(folder, self.file_column, self.caption_column)
        if told := clips.left_aside():
            rank_zero_info(told)
        return clips

    def _group(self, clips: ClipFolder, record: ClipRecord) -> str:
        if self.validation_column is None:
            return clips.name_of(record)
        if self.validation_column not in record.fields:
            columns = ", ".join(map(repr, record.fields)) or "none: no table or JSON has any"
            raise ValueError(f"validation_column: no column {self.validation_column!r}; there are {columns}")
        return str(record.fields[self.validation_column])

    def _dataset(self, records: list[ClipRecord], window: ClipWindow) -> ClipDataset:
        # A share of the whole folder: one bad clip among the few for validation is no reason to stop.
        total = len(records) if self.validation_folder is not None else sum(map(len, self._sides))
        return ClipDataset(records, window, cache=self.cache, skipped=SkippedClips(total, self.max_bad_share))

    def _loader(self, clips: ClipDataset, *, shuffle: bool) -> ResumableLoader:
        settings: dict[str, Any] = {"batch_size": self.batch_size, "seed": self.seed, "num_workers": self.num_workers}
        return ResumableLoader(clips, shuffle=shuffle, collate_fn=_collate, **settings)


def _collate(items: Sequence[ClipItem]) -> ClipBatch:
    """Stack clips into a batch; they have been bytes up to here."""
    frames_BTHWC = torch.stack([item.frames_THWC for item in items])
    video_BCTHW = unit_range(rearrange(frames_BTHWC, "b t h w c -> b c t h w").contiguous())
    return {"video": video_BCTHW, "caption": [item.caption for item in items]}
