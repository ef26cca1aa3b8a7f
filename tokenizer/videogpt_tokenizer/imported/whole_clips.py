"""What tokenizers of other projects have in common: they see a clip as a whole.

    codes_BTHW = tokenizer.encode(video_BCTHW)        # float in [-1, 1]
    video_BCTHW = tokenizer.decode(codes_BTHW)

There is no `stream`: a code may depend on every frame of its clip, or the program keeps no state between calls, and
codes of pieces would not be those of the whole. Long clips go through in windows of `frames_at_once`, each by itself,
as where these tokenizers come from: a seam can show between two, and memory grows with the pictures, not the length.
"""

from abc import abstractmethod
from typing import NoReturn

import torch
from torch import Tensor

from videogpt_tokenizer.checks import check_codes, check_range, check_video
from videogpt_tokenizer.grid import Tokenizer

# B batch, C colours (3), T frames (of pixels, or of latents where codes are meant), H/W height and width


class WholeClipTokenizer(Tokenizer):
    """Checks what goes in and out. Subclasses say how a sound clip becomes codes, and codes a clip."""

    streams = False
    frames_at_once: int
    """Frames of the clips that it is made for, and of the windows that long ones are cut into."""

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """See `Tokenizer.encode`; ValueError also where the codes that come are not of `grid`."""
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
        """See `Tokenizer.decode`; the video is float32."""
        check_codes(codes_BTHW, self.codebook_size)
        with torch.autocast(codes_BTHW.device.type, enabled=False):
            video_BCTHW = self.decode_clip(codes_BTHW.long()).float().clamp(-1, 1)
        batch, latents, height, width = codes_BTHW.shape
        sides = height * self.space_stride, width * self.space_stride
        if video_BCTHW.shape != (batch, 3, self.num_frames(latents), *sides):
            made, given = tuple(video_BCTHW.shape), tuple(codes_BTHW.shape)
            raise ValueError(f"the tokenizer made a video {made} of codes {given}")
        return video_BCTHW

    def stream(self) -> NoReturn:
        """Refused with a ValueError that says what to do."""
        raise ValueError(
            f"{type(self).__name__} has no stream, since it sees a clip as a whole: "
            f"encode and decode clips, of {self.frames_at_once} frames where a video is long"
        )

    @abstractmethod
    def encode_clip(self, video_BCTHW: Tensor) -> Tensor:
        """Float32 video in [-1, 1] of a size that fits -> codes (B, T, H, W), whole numbers of any type."""

    @abstractmethod
    def decode_clip(self, codes_BTHW: Tensor) -> Tensor:
        """Codes, int64 -> video about [-1, 1] of any float type."""
