"""A clip: uint8 RGB frames and a frame rate, read from and written to video and image files.

    clip = Clip.read("dog.mp4", fps=8, size=64, num_frames=17)
    video_CTHW = clip.video_CTHW()                    # float32 in [-1, 1], what a tokenizer takes
    Clip.from_video(video_CTHW, fps=8).write("dog.gif")
    Clip.write_pieces("copy.mp4", Clip.read_pieces("dog.mp4", 32))   # any length in constant memory

Reads whatever FFmpeg's libraries read of the usual containers (mp4, webm, avi, mpeg, gif, apng, ...), animations
(webp, avif), and images (png, jpg, tiff, bmp, webp, avif) as clips of one frame. Refuses, with a ValueError that names
the path and the remedy: files that are missing, empty, cut short, damaged, hold no picture, or claim one of more than
67 million pixels. Sound and tags are ignored. PyAV and Pillow are imported with the first file, so that all else needs
torch alone.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

# T frames, H height, W width, C colours (red, green, blue)

CLIP_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".wmv",
    ".3gp", ".3g2", ".qt", ".f4v", ".mk3d", ".divx", ".asf", ".mpe", ".m2v", ".vob", ".m2ts", ".mts", ".m2t",
    ".h264", ".hevc", ".ivf",
    ".gif", ".webp", ".png", ".apng", ".avif", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames in RGB at a constant rate.

    Raises ValueError when the frames are not uint8 THWC with three colours and at least one frame, or when
    `fps` is not a positive number.
    """

    frames_THWC: Tensor
    """uint8, values 0 to 255, RGB."""
    fps: float
    """Frames per second. An image file, which has no rate of its own, is read with 1."""

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.frames_THWC.shape), self.frames_THWC.dtype
        if dtype != torch.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise ValueError(
                f"frames_THWC is {dtype} of shape {shape}; a clip takes uint8 (frames, height, width, 3): "
                "Clip.from_video() converts a float video in [-1, 1]"
            )
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps={self.fps} must be a positive number of frames per second")

    def __len__(self) -> int:
        return self.frames_THWC.shape[0]

    @property
    def height(self) -> int:
        return self.frames_THWC.shape[1]

    @property
    def width(self) -> int:
        return self.frames_THWC.shape[2]

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self) / self.fps

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        fps: float | None = None,
        size: int | tuple[int, int] | None = None,
        start: float = 0.0,
        num_frames: int | None = None,
    ) -> "Clip":
        """Read a video or image file, what it holds being found from its content, not from its name.

        Alpha is composited on black. The picture is shown as the file says: turned, mirrored, and with square
        pixels, for which it is stretched along the axis that gains. Of several video streams the one with the largest
        picture is meant, of several pictures in a TIFF or a camera's JPEG the first.

        Args:
            fps: Frames per second wanted. Frames are picked by their time stamps (the one on display at each
                wanted moment), so a variable frame rate comes out right. None keeps every stored frame, and the
                rate is their average: only the clip's duration is then right.
            size: Height and width wanted, or one number for both. The picture is scaled to cover that size
                and its centre is cut out. None keeps the stored size.
            start: Seconds to leave out at the beginning.
            num_frames: The most frames to return; decoding stops there. A shorter clip gives what it has.

        Raises:
            ValueError: the file is missing, empty, cut short, damaged, holds no video stream or too large a
                picture, or changes the size of its pictures and `size` is None; `fps` is None and the file claims
                more than 1000; `start` lies behind the end; a setting is out of range. A movie that is cut short
                but gives all `num_frames` is accepted, an image or GIF never.
            OSError: the disk fails. Whatever else a library raises for a file is a ValueError; each names the path.
        """
        from videogpt_tokenizer.clips.read import read_frames

        return cls(*read_frames(Path(path), fps=fps, size=size, start=start, num_frames=num_frames))

    @classmethod
    def read_pieces(
        cls,
        path: str | os.PathLike[str],
        num_frames: int,
        *,
        fps: float | None = None,
        size: int | tuple[int, int] | None = None,
    ) -> Iterator["Clip"]:
        """Read a file in clips of `num_frames` frames, the last one of what is left: joined, what `read` returns.

        Memory does not grow with the length. Without `fps` the file is decoded twice, since only the whole of it tells
        its rate; a damaged one is then refused before the first piece. ValueError as of `read`, while iterating.
        """
        from videogpt_tokenizer.clips.read import read_pieces

        for frames_THWC, rate in read_pieces(Path(path), num_frames, fps=fps, size=size):
            yield cls(frames_THWC, rate)

    def write(self, path: str | os.PathLike[str], *, crf: int = 18) -> Path:
        """Write the clip, and return the path. No half-written file is left under the final name.

        Args:
            path: `.mp4` (H.264), `.webm` (VP9), `.avi` (FFV1, lossless), `.gif`, `.webp` (animated), and for
                a clip of one frame also `.png` and `.jpg`. H.264 and VP9 are written as yuv420p, which every
                browser plays and which needs even sizes: an odd last row or column is repeated. An existing
                file is replaced.
            crf: Constant rate factor of `.mp4` and `.webm`, 51 is worst; other formats ignore it. 0 is for
                exact figures: many players cannot show it.

        Raises:
            ValueError: unknown suffix, several frames for an image format, a rate the format cannot hold, or
                a folder that does not exist.
            OSError: the disk is full or the folder cannot be written.
        """
        from videogpt_tokenizer.clips.write import write_frames

        return write_frames(Path(path), self.frames_THWC, self.fps, crf=crf)

    @staticmethod
    def write_pieces(path: str | os.PathLike[str], pieces: Iterable["Clip"], *, crf: int = 18) -> Path:
        """Write a clip that comes in pieces of one size and rate, as they come, to `.mp4`, `.webm` or `.avi`.

        All else is as in `write`, which makes the same file. What the pieces raise leaves none. ValueError also where
        there is no piece, or one of another size or rate.
        """
        from videogpt_tokenizer.clips.write import write_movie

        remaining = iter(pieces)
        first = next(remaining, None)
        if first is None:
            raise ValueError(f"{path}: there are no frames to write")

        def frames() -> Iterator[Tensor]:
            for piece in chain([first], remaining):
                if (piece.height, piece.width, piece.fps) != (first.height, first.width, first.fps):
                    raise ValueError(f"{path}: the pieces differ in size or rate; scale them first")
                yield from piece.frames_THWC

        return write_movie(Path(path), frames(), (first.height, first.width), first.fps, crf=crf)

    def video_CTHW(self) -> Tensor:
        """The frames as float32 in [-1, 1]."""
        return unit_range(rearrange(self.frames_THWC, "t h w c -> c t h w").contiguous())

    @classmethod
    def from_video(cls, video_CTHW: Tensor, fps: float) -> "Clip":
        """A clip from a float video in [-1, 1]; what lies outside is clamped, between two levels rounded.

        Raises ValueError when the video is not CTHW with three colours, or holds NaN.
        """
        if video_CTHW.ndim != 4 or video_CTHW.shape[0] != 3:
            raise ValueError(f"video has shape {tuple(video_CTHW.shape)}; give (3, frames, height, width)")
        if video_CTHW.isnan().any():
            raise ValueError("video holds NaN: the model that made it has diverged")
        levels_CTHW = ((video_CTHW.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return cls(rearrange(levels_CTHW, "c t h w -> t h w c").cpu().contiguous(), fps)


def unit_range(levels: Tensor) -> Tensor:
    """Levels of 8 bits -> float32 in [-1, 1], of any shape."""
    return levels.float().div_(127.5).sub_(1)
