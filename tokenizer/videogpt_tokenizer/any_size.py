"""Clips of any length and picture size through a tokenizer, in batches.

    clips = tokenizer.encode_clips(videos)      # list of (3, T, H, W) in [-1, 1] -> list of ClipCodes
    videos = tokenizer.decode_clips(clips)      # the same lengths and sizes again

Sides are padded to the tokenizer's stride by repeating the edge, and cut back; the last frame is held until the count
fits, and cut off. Nothing looks ahead in time, so what is held changes no earlier code. Clips of equal padded size go
together, longest first, a few latent frames at a time, and leave the batch as they end: memory besides what is given
and returned does not grow with their length, and a short clip costs no more beside a long one than alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_tokenizer.video_tokenizer import Grid, VideoTokenizer

# B batch, C colours (3), T frames (of latents where codes are meant), H/W height and width

LATENTS_AT_ONCE = 1
"""More would take more memory and no less time: latent frames go through the network one by one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipCodes:
    """The codes of one clip, and what of the decoded frames is the clip."""

    codes_THW: Tensor
    """int64."""
    num_frames: int
    """Frames of pixels; what is decoded beyond them is the last one, held."""
    height: int
    """Pixels, from the top; what is decoded below repeats the edge."""
    width: int
    """Pixels, from the left."""


def covering_grid(tokenizer: VideoTokenizer, num_frames: int, height: int, width: int) -> Grid:
    """The smallest grid of codes that holds a clip of this size."""
    time, side = tokenizer.time_stride, tokenizer.space_stride
    return Grid(1 - (1 - num_frames) // time, -(-height // side), -(-width // side))


def pad_sides(video_BCTHW: Tensor, side: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `side`."""
    height, width = video_BCTHW.shape[3:]
    return F.pad(video_BCTHW, (0, -width % side, 0, -height % side, 0, 0), mode="replicate")


@torch.no_grad()
def encode_clips(tokenizer: VideoTokenizer, videos: Sequence[Tensor], batch_size: int = 16) -> list[ClipCodes]:
    """Videos (3, T, H, W) in [-1, 1] of any T, H and W from 1 on -> their codes, in order, where each video is.

    Args:
        batch_size: Clips at once; they pass through the tokenizer's device a piece at a time.

    Raises:
        ValueError: something else than (3, T, H, W) in floating point, values outside [-1, 1], or `batch_size` below 1.
    """
    for index, video_CTHW in enumerate(videos):
        if not isinstance(video_CTHW, Tensor):
            raise ValueError(f"video {index} is a {type(video_CTHW).__name__}; give a torch tensor")
        shape = tuple(video_CTHW.shape)
        if len(shape) != 4 or shape[0] != 3 or 0 in shape or not video_CTHW.is_floating_point():
            raise ValueError(
                f"video {index} is {video_CTHW.dtype} of shape {shape}; give floating point (3, frames, height, width)"
            )
    device, side = next(tokenizer.parameters()).device, tokenizer.space_stride
    grids = [covering_grid(tokenizer, *video_CTHW.shape[1:]) for video_CTHW in videos]
    pieces: list[list[Tensor]] = [[] for _ in videos]
    for batch in _batches(grids, batch_size):
        stream = tokenizer.stream()
        for step in _steps(grids, batch):
            stream.keep(len(step.clips))
            first, end = (tokenizer.num_frames(latents) if latents else 0 for latents in (step.first, step.end))
            frames_T = torch.arange(first, end)
            held = (videos[index][:, frames_T.clamp(max=videos[index].shape[1] - 1)] for index in step.clips)
            padded = [pad_sides(video_CTHW[None].to(device), side) for video_CTHW in held]
            for index, codes_THW in zip(step.clips, stream.encode(torch.cat(padded)), strict=True):
                pieces[index].append(codes_THW[: grids[index].time - step.first].to(videos[index].device))
    return [
        ClipCodes(codes_THW=torch.cat(parts), num_frames=video.shape[1], height=video.shape[2], width=video.shape[3])
        for parts, video in zip(pieces, videos, strict=True)
    ]


@torch.no_grad()
def decode_clips(tokenizer: VideoTokenizer, clips: Sequence[ClipCodes], batch_size: int = 16) -> list[Tensor]:
    """Codes -> videos (3, num_frames, height, width), clamped to [-1, 1], in order, where each clip's codes are.

    Raises:
        ValueError: a clip whose codes do not fit its size or this tokenizer, or `batch_size` below 1.
    """
    for index, clip in enumerate(clips):
        grid = covering_grid(tokenizer, clip.num_frames, clip.height, clip.width)
        if tuple(clip.codes_THW.shape) != grid or min(clip.num_frames, clip.height, clip.width) < 1:
            raise ValueError(
                f"clip {index} has codes of shape {tuple(clip.codes_THW.shape)}, but {clip.num_frames} frames of "
                f"{clip.height} x {clip.width} take {tuple(grid)} of this tokenizer: were they made by another?"
            )
    device = next(tokenizer.parameters()).device
    grids = [Grid(*clip.codes_THW.shape) for clip in clips]
    pieces: list[list[Tensor]] = [[] for _ in clips]
    for batch in _batches(grids, batch_size):
        stream = tokenizer.stream()
        for step in _steps(grids, batch):
            stream.keep(len(step.clips))
            latents_T = torch.arange(step.first, step.end)
            held = [clips[index].codes_THW[latents_T.clamp(max=grids[index].time - 1)] for index in step.clips]
            video_BCTHW = stream.decode(torch.stack([codes_THW.to(device) for codes_THW in held]))
            done = tokenizer.num_frames(step.first) if step.first else 0
            for index, video_CTHW in zip(step.clips, video_BCTHW, strict=True):
                clip = clips[index]
                cut_CTHW = video_CTHW[:, : clip.num_frames - done, : clip.height, : clip.width]
                pieces[index].append(cut_CTHW.to(clip.codes_THW.device))
    return [torch.cat(parts, dim=1) for parts in pieces]


class _Step(NamedTuple):
    """Latent frames `first` to `end` of those clips of a batch that have any of them."""

    clips: list[int]
    first: int
    end: int


def _batches(grids: Sequence[Grid], batch_size: int) -> Iterator[list[int]]:
    """Clips of equal height and width together, by their indices, longest first."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
    sizes: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(grids)), key=lambda index: -grids[index].time):
        sizes.setdefault(grids[index][1:], []).append(index)
    for indices in sizes.values():
        yield from (indices[start : start + batch_size] for start in range(0, len(indices), batch_size))


def _steps(grids: Sequence[Grid], batch: list[int]) -> Iterator[_Step]:
    longest = grids[batch[0]].time
    for first in range(0, longest, LATENTS_AT_ONCE):
        clips = [index for index in batch if grids[index].time > first]
        yield _Step(clips, first, min(first + LATENTS_AT_ONCE, longest))
