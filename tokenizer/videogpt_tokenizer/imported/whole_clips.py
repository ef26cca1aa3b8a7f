"""What tokenizers that see a clip as a whole have in common; the names are those of `VideoTokenizer`.

    codes_BTHW = tokenizer.encode(video_BCTHW)        # float in [-1, 1]
    video_BCTHW = tokenizer.decode(codes_BTHW)

There is no `stream`: a code may depend on every frame of its clip, or the program keeps no state between calls, and
codes of pieces would not be those of the whole. Long videos go through in clips of `clip_frames`, each by itself.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_codes, check_range, check_video, codes_of_picture
from videogpt_tokenizer.video_tokenizer import Grid

# B batch, C colours (3), T frames (of pixels, or of latents where codes are meant), H/W height and width


class WholeClipTokenizer(nn.Module, ABC):
    """Checks what goes in and out. Subclasses say how a sound clip becomes codes, and codes a clip."""

    codebook_size: int
    """Number of different codes."""
    time_stride: int
    """Frames per latent frame, the first one excepted."""
    first_frames: int
    """Frames of the first latent frame."""
    space_stride: int
    """Pixels of height and width per code."""
    clip_frames: int
    """Frames of the clips that it is made for, and that long videos are cut into."""

    def num_frames(self, latent_frames: int) -> int:
        """Frames of pixels that `latent_frames` latent frames decode to."""
        return self.first_frames + (latent_frames - 1) * self.time_stride

    def latent_frames(self, frames: int) -> int:
        """The least number of latent frames that hold `frames` frames of pixels."""
        return 1 + max(0, -(-(frames - self.first_frames) // self.time_stride))

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Shape of the codes of a clip of this size.

        Raises:
            ValueError: there is no such number of latent frames, or a side is no multiple of space_stride; the
                message names the nearest sizes that fit.
        """
        latents = self.latent_frames(frames)
        if frames != self.num_frames(latents):
            below, above = self.num_frames(max(1, latents - 1)), self.num_frames(latents)
            nearest = f"{below} and {above}" if below < above else f"{above} and {above + self.time_stride}"
            raise ValueError(f"{frames} frames do not fit the tokenizer: the nearest counts are {nearest}")
        return Grid(latents, *codes_of_picture(height, width, self.space_stride))

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Video in [-1, 1], (B, 3, frames, height, width) -> codes (B, T, H, W) of `grid`, int64.

        Raises:
            ValueError: a size that does not fit (see `grid`), values outside [-1, 1], or no video.
        """
        check_video(video_BCTHW)
        check_range(video_BCTHW)
        grid = self.grid(*video_BCTHW.shape[2:])
        with torch.autocast(video_BCTHW.device.type, enabled=False):  # codes must not depend on the machine
            codes_BTHW = self.encode_clip(video_BCTHW.float())
        if codes_BTHW.shape != (video_BCTHW.shape[0], *grid):
            raise ValueError(f"the tokenizer gave codes {tuple(codes_BTHW.shape)} where {tuple(grid)} were due")
        return codes_BTHW.long()

    @torch.no_grad()
    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Codes (B, T, H, W) -> video (B, 3, frames, height, width), float32, clamped to [-1, 1].

        Raises:
            ValueError: a code outside [0, codebook_size), or no codes.
        """
        check_codes(codes_BTHW, self.codebook_size)
        with torch.autocast(codes_BTHW.device.type, enabled=False):
            video_BCTHW = self.decode_clip(codes_BTHW.long()).float().clamp(-1, 1)
        batch, latents, height, width = codes_BTHW.shape
        sides = height * self.space_stride, width * self.space_stride
        if video_BCTHW.shape != (batch, 3, self.num_frames(latents), *sides):
            raise ValueError(
                f"the tokenizer made a video {tuple(video_BCTHW.shape)} of codes {tuple(codes_BTHW.shape)}"
            )
        return video_BCTHW

    def stream(self) -> None:
        """Refused.

        Raises:
            ValueError: always; the message says what to do.
        """
        raise ValueError(
            f"{type(self).__name__} has no stream, since it sees a clip as a whole: "
            f"encode and decode clips, of {self.clip_frames} frames where a video is long"
        )

    @abstractmethod
    def encode_clip(self, video_BCTHW: Tensor) -> Tensor:
        """Float32 video in [-1, 1] of a size that fits -> codes (B, T, H, W), whole numbers of any type."""

    @abstractmethod
    def decode_clip(self, codes_BTHW: Tensor) -> Tensor:
        """Codes, int64 -> video about [-1, 1] of any float type."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256: two tokenizers agree in it only if their codes mean the same."""
