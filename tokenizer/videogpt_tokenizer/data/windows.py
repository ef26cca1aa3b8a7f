"""Clips held in memory, and the window that is cut out of each for one training step.

    clips = ClipDataset(ClipFolder("my_clips"), ClipWindow(num_frames=17, size=64))
    clips.item(5, epoch=2).frames_THWC          # uint8

Which window is a pure function of (seed, epoch, index). Clips that cannot be decoded are skipped and named in one
report; too many of them stop the run with a ValueError.
"""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import SkippedClips, UnreadableClipError

# T frames, H height, W width, C colours

SECONDS_BETWEEN_REPORTS = 10.0


@dataclass(frozen=True, kw_only=True)
class ClipWindow:
    """What is cut out of a clip. Raises ValueError when a setting is out of range."""

    num_frames: int = 17
    """Frames of a window; a clip with fewer holds its last frame."""
    size: int | tuple[int, int] = 64
    """Height and width, or one number for both."""
    fps: float | None = None
    """Frames per second that clips are resampled to; None takes every frame of the file."""
    max_frame_stride: int = 1
    """A window takes every frame, or every second, ..., up to this; which one is drawn."""
    flip: bool = False
    """Mirror every second window, drawn."""
    crop_margin: int = 0
    """Pixels by which clips are kept larger than `size`; a window's place in them is drawn."""
    seed: int | None = 0
    """Of everything drawn. None draws nothing: the first frames, as they are."""

    def __post_init__(self) -> None:
        for name, least in (("num_frames", 1), ("max_frame_stride", 1), ("crop_margin", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        if min(self.size_HW) < 1:
            raise ValueError(f"size={self.size} must be at least 1 pixel")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps={self.fps} must be a positive number of frames per second")
        check_request(self.fps, self.size_HW)

    @property
    def size_HW(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else self.size


class ClipItem(NamedTuple):
    """One window."""

    frames_THWC: Tensor  # uint8
    caption: str


class ClipDataset:
    """Windows of clips, an `EpochDataset`; ValueError where too many clips cannot be decoded, or all.

    Args:
        cache: Decode every clip once and keep it as uint8; otherwise whenever it is asked for.
        skipped: Takes the clips that cannot be decoded, and says how many may be; None lets none be.
    """

    def __init__(
        self,
        records: Sequence[ClipRecord],
        window: ClipWindow,
        *,
        cache: bool = True,
        skipped: SkippedClips | None = None,
    ) -> None:
        self.window = window
        self.records: list[ClipRecord] = []
        self.skipped = SkippedClips(len(records), max_share=0) if skipped is None else skipped
        self._cached_THWC: list[Tensor] = []
        self._decode_all(records, cache)

    def __len__(self) -> int:
        return len(self.records)

    def item(self, index: int, epoch: int) -> ClipItem:
        """The window of one clip in one epoch."""
        record = self.records[index]
        frames_THWC = self._cached_THWC[index] if self._cached_THWC else self._decode_again(record).frames_THWC
        draw = None if self.window.seed is None else np.random.default_rng((self.window.seed, epoch, index))
        return ClipItem(cut(frames_THWC, self.window, draw), record.caption)

    @property
    def memory_bytes(self) -> int:
        return sum(frames_THWC.nbytes for frames_THWC in self._cached_THWC)

    def _decode(self, record: ClipRecord, *, check_only: bool = False) -> Clip:
        window = self.window
        draws = window.seed is not None
        height, width = (side + window.crop_margin * draws for side in window.size_HW)
        enough = None if draws and not check_only else window.num_frames
        return Clip.read(record.path, fps=window.fps, size=(height, width), num_frames=enough)

    def _decode_again(self, record: ClipRecord) -> Clip:
        """The whole clip or, where it is damaged beyond the frames that were checked, these; the run goes on."""
        try:
            return self._decode(record)
        except UnreadableClipError as error:
            clip = self._decode(record, check_only=True)
            warnings.warn(f"only the first {len(clip)} frames are used: {error}", stacklevel=2)
            return clip

    def _decode_all(self, records: Sequence[ClipRecord], cache: bool) -> None:
        began = reported = time.monotonic()
        short = num_frames = 0
        for done, (record, outcome) in enumerate(self._decoded(records, check_only=not cache), start=1):
            if isinstance(outcome, Exception):
                self.skipped.add(str(record.path), outcome)
                self.skipped.check(done)
                continue
            self.records.append(record)
            num_frames += len(outcome)
            short += len(outcome) < self.window.num_frames
            if cache:
                self._cached_THWC.append(outcome.frames_THWC)
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                rank_zero_info(f"decoded {done} of {len(records)} clips, {self.memory_bytes / 1e6:,.0f} MB")
        if not self.records:
            raise ValueError(f"none of {len(records)} clips can be used: {self.skipped.first_reasons()}")
        held = f"; {short} are shorter than {self.window.num_frames} frames and hold the last" if short else ""
        rank_zero_info(
            f"decoded {len(self)} clips, {num_frames} frames, {self.memory_bytes / 1e6:,.1f} MB in memory, "
            f"in {time.monotonic() - began:.1f} s{held}"
        )
        if self.skipped:
            rank_zero_warn(
                f"left out {len(self.skipped)} of {len(records)} clips that cannot be decoded: "
                f"{self.skipped.first_reasons()}"
            )

    def _decoded(
        self, records: Sequence[ClipRecord], *, check_only: bool
    ) -> Iterator[tuple[ClipRecord, Clip | Exception]]:
        """Decode on all cores; FFmpeg's libraries let other threads run meanwhile. The order is kept."""

        def decode(record: ClipRecord) -> Clip | Exception:
            try:
                return self._decode(record, check_only=check_only)
            except UnreadableClipError as error:
                return error

        pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
        try:
            yield from zip(records, pool.map(decode, records), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def cut(frames_THWC: Tensor, window: ClipWindow, draw: np.random.Generator | None) -> Tensor:
    """Cut a (num_frames, *size_HW, 3) window out of a clip; without `draw`, at its beginning and centre."""
    last = frames_THWC.shape[0] - 1
    steps = window.num_frames - 1
    widest = max(1, min(window.max_frame_stride, last // max(steps, 1)))
    stride = 1 if draw is None else int(draw.integers(1, widest + 1))
    first = 0 if draw is None else int(draw.integers(0, max(0, last - steps * stride) + 1))
    chosen_T = (first + stride * torch.arange(window.num_frames)).clamp(max=last)
    (height, width), (full_height, full_width) = window.size_HW, frames_THWC.shape[1:3]
    top, left = (full_height - height) // 2, (full_width - width) // 2
    if draw is not None:
        top = int(draw.integers(0, full_height - height + 1))
        left = int(draw.integers(0, full_width - width + 1))
    cut_THWC = frames_THWC[chosen_T, top : top + height, left : left + width]
    mirrored = draw is not None and window.flip and bool(draw.integers(2))
    return cut_THWC.flip(2) if mirrored else cut_THWC
