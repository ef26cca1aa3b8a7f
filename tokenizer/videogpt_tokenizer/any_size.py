"""Clips of any length and picture size through a tokenizer that streams: in batches, or in pieces.

    clips = tokenizer.encode_clips(videos)      # list of (3, T, H, W) in [-1, 1] -> list of ClipCodes
    videos = tokenizer.decode_clips(clips)      # the same lengths and sizes again

    codes = encode_pieces(tokenizer, pieces)    # one clip that comes in pieces -> ClipCodes
    pieces = decode_pieces(tokenizer, codes)    # and back

Sides are padded to the tokenizer's stride by repeating the edge, and cut back; the last frame is held until the count
fits, and cut off. Nothing looks ahead in time, so what is held changes no earlier code. Latent frames go through one by
one, so memory besides what is given and returned does not grow with the length. Clips of equal padded size go together,
longest first, and leave the batch as they end: a short clip costs no more beside a long one than alone. Refuses what is
no clip, and codes that do not fit the clip's size or the tokenizer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videogpt_tokenizer.checks import check_memory
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.skipped import UnreadableClipError
from videogpt_tokenizer.grid import Coder, Grid, Tokenizer, check_frames

# B batch, C colours (3), T frames (of latents where codes are meant), H/W height and width


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


def encode_pieces(tokenizer: Tokenizer, pieces: Iterable[Tensor]) -> ClipCodes:
    """A clip in one piece (3, T, H, W) or more, in [-1, 1], all of one size -> its codes, where the pieces are."""
    stream, codes, num_frames, height, width = tokenizer.stream(), [], 0, 0, 0
    for video_CTHW, fitted_BCTHW in tokenizer.fitted(pieces):
        codes.append(stream.encode(fitted_BCTHW)[0].to(video_CTHW.device))
        num_frames += video_CTHW.shape[1]
        height, width = video_CTHW.shape[2:]
    if not codes:
        raise ValueError("the clip has no frames; one is the least")
    return ClipCodes(codes_THW=torch.cat(codes), num_frames=num_frames, height=height, width=width)


def within_memory(
    pieces: Iterator[Clip], path: Path, memory_of: Callable[[int, int, int], int | None]
) -> Iterator[Clip]:
    """The pieces of a file; an UnreadableClipError before the first where its pictures take more memory than is free.

    `memory_of` is a tokenizer's.
    """
    first = next(pieces)
    try:
        check_memory(memory_of(len(first), first.height, first.width), str(path), first.height, first.width)
    except ValueError as error:
        raise UnreadableClipError(str(error)) from error
    yield first
    yield from pieces


def decode_pieces(tokenizer: Tokenizer, clip: ClipCodes) -> Iterator[Tensor]:
    """Codes -> the clip in pieces (3, T, height, width) in [-1, 1], a latent frame each, where the tokenizer is."""
    _check_codes(tokenizer, clip, "the clip")
    stream = tokenizer.stream()
    for latent, codes_HW in enumerate(clip.codes_THW):
        video_BCTHW = stream.decode(codes_HW[None, None].to(tokenizer.device))
        yield _cut(tokenizer, clip, latent, video_BCTHW[0])


@torch.no_grad()
def encode_clips(tokenizer: Tokenizer, videos: Sequence[Tensor], batch_size: int = 16) -> list[ClipCodes]:
    """Videos (3, T, H, W) in [-1, 1] of any T, H and W from 1 on -> their codes, in order, where each video is.

    `batch_size` clips at once pass through the tokenizer's device, a latent frame at a time.
    """
    for index, video_CTHW in enumerate(videos):
        check_frames(video_CTHW, f"video {index}")
    grids = [tokenizer.covering_grid(*video_CTHW.shape[1:]) for video_CTHW in videos]
    coming = [tokenizer.fitted([video_CTHW]) for video_CTHW in videos]
    codes: list[list[Tensor]] = [[] for _ in videos]
    for stream, batch, _ in _in_step(tokenizer, grids, batch_size):
        fitted_BCTHW = torch.cat([next(coming[index])[1] for index in batch])
        for index, codes_THW in zip(batch, stream.encode(fitted_BCTHW), strict=True):
            codes[index].append(codes_THW.to(videos[index].device))
    return [
        ClipCodes(codes_THW=torch.cat(parts), num_frames=video.shape[1], height=video.shape[2], width=video.shape[3])
        for parts, video in zip(codes, videos, strict=True)
    ]


@torch.no_grad()
def decode_clips(tokenizer: Tokenizer, clips: Sequence[ClipCodes], batch_size: int = 16) -> list[Tensor]:
    """Codes -> videos (3, num_frames, height, width), clamped to [-1, 1], in order, where each clip's codes are."""
    for index, clip in enumerate(clips):
        _check_codes(tokenizer, clip, f"clip {index}")
    pieces: list[list[Tensor]] = [[] for _ in clips]
    for stream, batch, latent in _in_step(tokenizer, [Grid(*clip.codes_THW.shape) for clip in clips], batch_size):
        codes_BHW = torch.stack([clips[index].codes_THW[latent].to(tokenizer.device) for index in batch])
        for index, video_CTHW in zip(batch, stream.decode(codes_BHW[:, None]), strict=True):
            piece_CTHW = _cut(tokenizer, clips[index], latent, video_CTHW)
            pieces[index].append(piece_CTHW.to(clips[index].codes_THW.device))
    return [torch.cat(parts, dim=1) for parts in pieces]


def _in_step(tokenizer: Tokenizer, grids: Sequence[Grid], batch_size: int) -> Iterator[tuple[Coder, list[int], int]]:
    """Clips of equal height and width together, longest first: their stream, the indices of those that have not ended,
    and the latent frame that is next."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
    sizes: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(grids)), key=lambda index: -grids[index].time):
        sizes.setdefault(grids[index][1:], []).append(index)
    for indices in sizes.values():
        for start in range(0, len(indices), batch_size):
            batch, stream = indices[start : start + batch_size], tokenizer.stream()
            for latent in range(grids[batch[0]].time):
                batch = [index for index in batch if grids[index].time > latent]
                stream.keep(len(batch))
                yield stream, batch, latent


def _cut(tokenizer: Tokenizer, clip: ClipCodes, latent: int, video_CTHW: Tensor) -> Tensor:
    """What of the decoded frames of a latent frame is the clip."""
    done = tokenizer.num_frames(latent) if latent else 0
    return video_CTHW[:, : clip.num_frames - done, : clip.height, : clip.width]


def _check_codes(tokenizer: Tokenizer, clip: ClipCodes, name: str) -> None:
    grid = tokenizer.covering_grid(clip.num_frames, clip.height, clip.width)
    if tuple(clip.codes_THW.shape) != grid or min(clip.num_frames, clip.height, clip.width) < 1:
        raise ValueError(
            f"{name} has codes of shape {tuple(clip.codes_THW.shape)}, but {clip.num_frames} frames of {clip.height} x "
            f"{clip.width} take {tuple(grid)} codes of this tokenizer: if another made them, tokenize the clip again"
        )
