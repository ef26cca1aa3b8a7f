"""The grid of codes over a clip, and what every video tokenizer is to those who use one.

    tokenizer: Tokenizer = load_video_tokenizer("natural")
    tokenizer.grid(17, 64, 64)                          # Grid(time=5, height=8, width=8)
    for piece in tokenizer.through(videos):             # pieces of one clip, (3, T, H, W) in [-1, 1], any T, H and W
        piece.result_CTHW, piece.codes_THW

A clip that no grid fits is padded on the way through (`fitted`), and cut back: its last frame is held, its last row and
column are repeated. `grid` refuses sizes that have none, and names the nearest that have one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videogpt_tokenizer.checks import codes_of_picture

# B batch, C colours (3), T frames (of pixels, or of latents where codes are meant), H/W height and width


class Grid(NamedTuple):
    """Shape of the codes of one clip."""

    time: int
    height: int
    width: int


class Piece(NamedTuple):
    """Frames of a clip that have gone through a tokenizer and back."""

    original_CTHW: Tensor
    result_CTHW: Tensor
    """In [-1, 1], of the same shape."""
    codes_THW: Tensor
    """Those for padding included."""


class Coder(Protocol):
    """A stream: encodes and decodes one clip, or a batch of clips in step, piece by piece.

    `encode` takes further frames in [-1, 1] and gives the codes of the latent frames that they complete, `decode` takes
    further codes and gives their frames. `keep` goes on with the first so many clips of the batch: the others have
    ended.
    """

    def encode(self, video_BCTHW: Tensor) -> Tensor: ...
    def decode(self, codes_BTHW: Tensor) -> Tensor: ...
    def keep(self, clips: int) -> None: ...


class Tokenizer(nn.Module, ABC):
    """A video tokenizer, of this project or of another. What follows from its strides is worked out here."""

    codebook_size: int
    """Number of different codes."""
    first_frames: int = 1
    """Frames of the first latent frame."""
    time_stride: int
    """Frames of every further latent frame."""
    space_stride: int
    """Pixels of height and width per code."""
    frames_at_once: int
    """Frames that `through` works on at a time; pieces of so many take the least memory."""
    streams: bool
    """Whether pieces give the codes of the whole, by a `stream`; if not, a clip goes through in windows."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @abstractmethod
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Video in [-1, 1], (B, 3, frames, height, width) -> codes (B, T, H, W) of `grid`, int64.

        ValueError where it is no such video, of a size that does not fit (see `grid`), or of values outside [-1, 1].
        """

    @abstractmethod
    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Codes (B, T, H, W) -> video (B, 3, frames, height, width), float, clamped to [-1, 1].

        ValueError where they are no whole numbers, of another shape, or outside [0, codebook_size).
        """

    @abstractmethod
    def stream(self) -> Coder:
        """A fresh stream, for encoding or decoding a clip of any length in pieces; ValueError without `streams`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256: two tokenizers agree in it only if their codes mean the same."""

    def memory_of(self, frames: int, height: int, width: int, *, back: bool = True) -> int | None:
        """Bytes, about, that pictures of this size take, so many at once, and `back` too; None where that is not known.

        One frame is taken for the whole clip.
        """
        return None

    def bits_per_code(self) -> float:
        """What a code costs: the logarithm of the number of different codes."""
        return math.log2(self.codebook_size)

    def num_frames(self, latent_frames: int) -> int:
        """Frames of pixels that `latent_frames` latent frames decode to."""
        return self.first_frames + (latent_frames - 1) * self.time_stride

    def latent_frames(self, frames: int) -> int:
        """The least number of latent frames that hold `frames` frames of pixels."""
        return 1 + max(0, -(-(frames - self.first_frames) // self.time_stride))

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Shape of the codes of a clip of this size.

        ValueError, which names the nearest sizes that fit, where no number of latent frames gives so many frames, or a
        side is not a multiple of space_stride.
        """
        latents, stride = self.latent_frames(frames), self.time_stride
        if frames != self.num_frames(latents):
            below = self.num_frames(max(1, latents - 1))
            raise ValueError(
                f"{frames} frames do not fit the tokenizer: the nearest counts are {below} and {below + stride}, "
                f"and all of {self.first_frames} + {stride}k fit"
            )
        return Grid(latents, *codes_of_picture(height, width, self.space_stride))

    def covering_grid(self, frames: int, height: int, width: int) -> Grid:
        """The smallest grid of codes that holds a clip of this size."""
        side = self.space_stride
        return Grid(self.latent_frames(frames), -(-height // side), -(-width // side))

    def through(self, pieces: Iterable[Tensor]) -> Iterator[Piece]:
        """Pieces (3, T, H, W) in [-1, 1] of a clip of any length and size -> the clip encoded and decoded, as it comes.

        ValueError where a piece is no video, or of another size than those before it.
        """
        by = self.stream() if self.streams else self
        for video_CTHW, fitted_BCTHW in self.fitted(pieces):
            _, frames, height, width = video_CTHW.shape
            codes_BTHW = by.encode(fitted_BCTHW)
            result_BCTHW = by.decode(codes_BTHW)[:, :, :frames, :height, :width]
            yield Piece(video_CTHW, result_BCTHW[0], codes_BTHW[0])
            del video_CTHW, fitted_BCTHW, result_BCTHW  # not beside the next

    def fitted(self, pieces: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """A clip in pieces of any lengths -> what goes through at once: frames as they are, and as `encode` takes them.

        These are the frames of a latent frame, or of a window. The second are (1, C, T, H, W), where the tokenizer
        runs: the last frame is held until the count fits, sides are padded.
        """
        side, done = self.space_stride, 0
        in_turn = chain([self.first_frames], repeat(self.time_stride))
        for video_CTHW in regrouped(pieces, in_turn if self.streams else repeat(self.frames_at_once)):
            _, frames, height, width = video_CTHW.shape
            done = frames + (done if self.streams else 0)
            held = self.num_frames(self.latent_frames(done)) - done
            padding = (0, -width % side, 0, -height % side, 0, held)
            fitted_BCTHW = video_CTHW[None].to(self.device)
            if any(padding):
                fitted_BCTHW = F.pad(fitted_BCTHW, padding, mode="replicate")
            yield video_CTHW, fitted_BCTHW.contiguous()
            del video_CTHW, fitted_BCTHW


def regrouped(pieces: Iterable[Tensor], sizes: Iterator[int]) -> Iterator[Tensor]:
    """Pieces (C, T, H, W) of a clip, of any lengths -> the clip in pieces of the lengths `sizes`, the last maybe less.

    ValueError where a piece is no video, or of another size than those before it.
    """
    waiting_CTHW, size = None, next(sizes)
    for piece_CTHW in pieces:
        check_frames(piece_CTHW, "a piece of the clip")
        if waiting_CTHW is not None:
            if waiting_CTHW.shape[2:] != piece_CTHW.shape[2:]:
                before, now = tuple(waiting_CTHW.shape[2:]), tuple(piece_CTHW.shape[2:])
                raise ValueError(f"a clip of {before} pixels has a piece of {now}: scale its frames to one size")
            if waiting_CTHW.shape[1]:
                piece_CTHW = torch.cat([waiting_CTHW, piece_CTHW], dim=1)
            del waiting_CTHW
        while piece_CTHW.shape[1] >= size:
            yield piece_CTHW[:, :size]
            piece_CTHW, size = piece_CTHW[:, size:], next(sizes)
        waiting_CTHW = piece_CTHW.clone()  # the caller may put the next frames where these were
        del piece_CTHW
    if waiting_CTHW is not None and waiting_CTHW.shape[1]:
        yield waiting_CTHW


def check_frames(video_CTHW: object, name: str) -> None:
    """ValueError unless it is one floating-point video of three colours, of one frame or more of any size."""
    if not isinstance(video_CTHW, Tensor):
        raise ValueError(f"{name} is a {type(video_CTHW).__name__}; give a torch tensor")
    shape = tuple(video_CTHW.shape)
    if len(shape) != 4 or shape[0] != 3 or 0 in shape or not video_CTHW.is_floating_point():
        found = f"{video_CTHW.dtype} of shape {shape}"
        raise ValueError(f"{name} is {found}; give floating point (3, frames, height, width)")
