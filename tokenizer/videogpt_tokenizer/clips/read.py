"""Decode a video or image file into RGB frames, holding no more than is returned. Used through `Clip`.

    frames_THWC, rate = read_frames(Path("dog.mp4"), fps=8, size=(64, 64), start=0.0, num_frames=17)
    for frames_THWC, rate in read_pieces(Path("dog.mp4"), 32, fps=None, size=None): ...

`stills.py` and `movies.py` decode; here frames are picked by their times and the rate is found. Whatever goes wrong in
a file is an UnreadableClipError that names it, whatever the libraries or the disk raise.
Pictures of more than MAX_PIXELS are refused before there is memory for them: a few bytes can claim any size.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from av.error import FFmpegError
from torch import Tensor

from videogpt_tokenizer.clips.movies import MOST_FPS, USUAL_FPS, Movie, open_movie
from videogpt_tokenizer.clips.scaling import MAX_PIXELS, MOST_PIXELS, DecodeError, Stored, ToRgb
from videogpt_tokenizer.clips.skipped import UnreadableClipError
from videogpt_tokenizer.clips.stills import still_frames, still_opener
from videogpt_tokenizer.clips.tar_shards import open_member
from videogpt_tokenizer.clips.truncation import is_cut_short

# T frames, H height, W width, C colours; times in seconds from the first frame of the file

_Picture = TypeVar("_Picture")


@dataclass
class _Seen:
    """The frames that have been decoded so far."""

    count: int = 0
    header_fps: float = 0.0
    begin: float = math.inf  # when the first of them appears
    end: float = 0.0  # when the last of them goes
    rate: float = 0.0  # `fps()` of them all, where no other was wanted

    def add(self, stored: Stored) -> None:
        self.count += 1
        self.begin, self.end = min(self.begin, stored.begin), stored.end

    def fps(self) -> float:
        """Frames per second with which they last as long as they did in the file.

        The header's rate is right but for variable rates: it is kept wherever it is right to half a frame, since it is
        exact and time stamps are rounded.
        """
        seconds = self.end - self.begin
        is_right = self.count == 1 or seconds <= 0 or abs(seconds * self.header_fps - self.count) <= 0.5
        if self.header_fps and is_right:
            return self.header_fps
        fps = self.count / seconds if seconds > 0 else math.inf
        if fps <= MOST_FPS:
            return fps
        if self.count == 1:
            return USUAL_FPS
        raise DecodeError(f"claims over {MOST_FPS} frames a second, by its times as well; give it a sound rate")


def read_frames(
    path: Path, *, fps: float | None, size: int | tuple[int, int] | None, start: float, num_frames: int | None
) -> tuple[Tensor, float]:
    """See `Clip.read`, which this serves: frames and frames per second."""
    check_request(fps, size, start, num_frames)
    seen, data, shape_HWC = _Seen(), bytearray(), (0, 0, 3)
    for picture_HWC in _decoded(path, seen, ToRgb(size), fps, start, num_frames):
        data += picture_HWC.data  # grows in place: stacking a list would need the memory twice
        shape_HWC = picture_HWC.shape
    frames_THWC = torch.frombuffer(data, dtype=torch.uint8).view(seen.count, *shape_HWC)
    return frames_THWC, fps or seen.rate


def read_pieces(
    path: Path, num_frames: int, *, fps: float | None, size: int | tuple[int, int] | None
) -> Iterator[tuple[Tensor, float]]:
    """See `Clip.read_pieces`, which this serves: the same of each piece."""
    check_request(fps, size, 0.0, num_frames)
    rate = fps
    if rate is None:  # which only the whole file tells
        seen = _Seen()
        for _ in _decoded(path, seen, lambda _: None):
            pass
        rate = seen.rate
    pictures = _decoded(path, _Seen(), ToRgb(size), fps)
    while piece := list(islice(pictures, num_frames)):
        yield torch.from_numpy(np.stack(piece)), rate


def _decoded(
    path: Path,
    seen: _Seen,
    picture_of: Callable[[Stored], _Picture],
    fps: float | None = None,
    start: float = 0.0,
    num_frames: int | None = None,
) -> Iterator[_Picture]:
    """The wanted frames, each as `picture_of` gives it."""
    with _naming(path), _open_file(path) as file:
        with _open_source(file, start) as source:
            seen.header_fps = source.fps
            for stored in islice(_pick(source, fps, start), num_frames):
                picture = picture_of(stored)
                seen.add(stored)
                yield picture
        if seen.count != num_frames and is_cut_short(file):
            raise DecodeError(f"is cut short after {seen.count} frames; copy or convert it again")
        if not seen.count:
            raise DecodeError(f"ends before {start:g} s; give a smaller start" if start else "holds no picture")
        if fps is None:
            seen.rate = seen.fps()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Every fault becomes an UnreadableClipError that names the file."""
    try:
        yield
    except DecodeError as error:
        raise UnreadableClipError(f"{path}: {error}") from error
    except Exception as error:  # each library raises what it likes, even AttributeError
        what = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        if not (isinstance(error, OSError) and error.errno and not isinstance(error, FFmpegError)):  # not the disk's
            what = f"cannot be decoded ({what}); is it a whole video or image of at most {MOST_PIXELS}?"
        raise UnreadableClipError(f"{path}: {what}") from error


def check_request(
    fps: float | None, size: int | tuple[int, int] | None, start: float = 0.0, num_frames: int | None = None
) -> None:
    """ValueError where no file can give it; for jobs of many clips, before the first."""
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise ValueError(f"fps={fps} must be a positive number of frames per second, at most {MOST_FPS}")
    sides = (size, size) if isinstance(size, int) else size if size is not None else (1, 1)
    if not (isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(x, int) and x > 0 for x in sides)):
        raise ValueError(f"size={size} must be one positive number of pixels or (height, width)")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ValueError(f"size={size} is more than {MOST_PIXELS}; make it smaller")
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"start={start} must be zero or more seconds")
    if num_frames is not None and not (isinstance(num_frames, int) and num_frames > 0):
        raise ValueError(f"num_frames={num_frames} must be a whole number, at least 1")


def _open_file(path: Path) -> BinaryIO:
    try:
        file = open_member(path)
    except ValueError as error:  # which names the tar file
        raise DecodeError(str(error)) from error
    if file is None:
        if not path.exists():
            raise DecodeError("there is no such file")
        if not path.is_file():
            raise DecodeError("is not a file; give a video or image file")
        file = path.open("rb")
    if not file.read(1):
        file.close()
        raise DecodeError("is empty (0 bytes); copy or download it again")
    file.seek(0)
    return file


@contextmanager
def _open_source(file: BinaryIO, start: float) -> Iterator[Movie]:
    if opener := still_opener(file):
        frames, is_animation = still_frames(file, opener)
        yield Movie(frames, 0.0 if is_animation else 1.0, 1e-3, is_image=not is_animation)
        return
    with open_movie(file, start) as movie:
        yield movie


def _pick(source: Movie, fps: float | None, start: float) -> Iterator[Stored]:
    """Choose frames: all from `start` on, or the one on display at start, start + 1/fps, start + 2/fps, ...

    A wanted moment is settled as soon as a frame begins at it or after it, so no frame is decoded in vain.
    """
    # Time stamps are rounded to the file's tick: frames may be half a tick late. At most 5 ms are forgiven.
    slack = min(source.tick / 2, 5e-3) + 1e-6
    if source.is_image:
        yield from islice(source.frames, 1)
        return
    if fps is None:
        yield from (stored for stored in source.frames if not start or stored.end > start + slack)
        return
    shown: Stored | None = None
    picked = 0
    for stored in source.frames:
        while shown and start + picked / fps < stored.begin - slack:
            yield shown
            picked += 1
        shown = stored
        if abs(start + picked / fps - stored.begin) <= slack:
            yield stored
            picked += 1
    while shown and start + picked / fps < shown.end - slack:
        yield shown
        picked += 1
