"""Clips through a video tokenizer and back: what does it lose, and what does a clip cost in bits?

    for row in reconstruct(find_clips(["clip.mp4"]), tokenizer, output="reconstructions"):
        print(row.line())

Takes any size and length: what does not fit is padded and cut back (`Tokenizer.through`). A clip is read,
reconstructed, measured and written in pieces, so memory does not grow with its length. The figures compare what is
written, in 8 bits, with what was read.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from videogpt.evaluation.frame_meter import EightBitFigures, FrameMeter
from videogpt_tokenizer.any_size import within_memory
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import SkippedClips, UnreadableClipError
from videogpt_tokenizer.clips.tar_shards import is_file_or_member
from videogpt_tokenizer.files.numbered import next_number, slug
from videogpt_tokenizer.files.output import output_folder, writing_to
from videogpt_tokenizer.grid import Tokenizer

# C colours, T frames, H/W height and width


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """One clip, or the mean of several."""

    name: str
    """The file read, or what the mean is over."""
    shape: str
    """Frames x height x width."""
    figures: EightBitFigures
    bits_per_pixel: float
    """Bits of the codes for each pixel of each frame, those for padding included; 24 before."""
    path: Path | None = None
    """The file written."""

    def line(self) -> str:
        """One line for a terminal."""
        figures = self.figures
        told = {
            f"PSNR {figures.psnr:.2f} dB": figures.psnr,
            f"SSIM {figures.ssim:.4f}": figures.ssim,
            f"temporal PSNR {figures.temporal_psnr:.2f} dB": figures.temporal_psnr,
            f"{self.bits_per_pixel:.4f} bits per pixel": self.bits_per_pixel,
        }
        known = ", ".join(text for text, value in told.items() if not math.isnan(value))
        return f"{self.name} ({self.shape}): {known}{f' -> {self.path}' if self.path else ''}"


def find_clips(
    names: Sequence[str | Path],
    file_column: str = "file_name",
    caption_column: str = "caption",
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """The files themselves, and in place of a folder its clips; `say` is told what a folder holds beside them.

    ValueError as by `ClipFolder`, or where nothing is.
    """
    paths: list[Path] = []
    for path in map(Path, names):
        if path.is_dir():
            clips = ClipFolder(path, file_column, caption_column)
            paths += [record.path for record in clips]
            if say and (told := clips.left_aside()):
                say(told)
        elif path.exists() or is_file_or_member(path):
            paths.append(path)
        else:
            raise ValueError(f"{path}: there is no such file or folder")
    return paths


def reconstruct(
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    output: str | Path | None = None,
    *,
    size: int | None = None,
    fps: float | None = None,
    num_frames: int | None = None,
    side_by_side: bool = False,
    bad: SkippedClips | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Reconstructed]:
    """Reconstruct clips one after another.

    Args:
        output: Folder for NNNN-name.mp4, made if need be; nothing in it is overwritten. None: measure only.
        size: Height and width to scale and cut to first.
        fps: Rate to resample to first.
        num_frames: The most frames of a clip; decoding stops there. So many are in memory, in 8 bits. A file that is
            cut short but gives all of them is accepted.
        side_by_side: Write the original left of the reconstruction.
        bad: Takes the clips that cannot be read, by their paths; None: such a clip is an error.
        progress: Called with the frames of the clip so far, as they are done.

    Raises:
        ValueError: a file cannot be decoded and there is no `bad`, or a setting is out of range.
        OSError: `output` cannot be written. A folder that nothing has been written to is not left behind.
    """
    check_request(fps, size, num_frames=num_frames)
    if side_by_side and output is None:
        raise ValueError("side_by_side is for files: name an output folder, too")
    with nullcontext() if output is None else output_folder(Path(output)) as folder:
        for path in paths:
            pieces = _pieces(path, tokenizer, size, fps, num_frames)
            try:
                row = _reconstruct_one(path, pieces, tokenizer, folder, side_by_side, progress)
            except UnreadableClipError as error:
                if bad is None:
                    raise
                bad.add(str(path), error)
            else:
                yield row


def reconstruct_pieces(pieces: Iterable[Clip], tokenizer: Tokenizer) -> Iterator[tuple[Clip, Clip, int]]:
    """A clip that comes in pieces, through the tokenizer and back, as frames are ready.

    Yields further frames as they were, as they are now, and the number of codes they took, those for padding included.
    """
    remaining = iter(pieces)
    first = next(remaining)
    videos = (piece.video_CTHW() for piece in chain([first], remaining))
    for original_CTHW, result_CTHW, codes_THW in tokenizer.through(videos):
        original, result = (_in_8_bits(video_CTHW, first.fps) for video_CTHW in (original_CTHW, result_CTHW))
        del original_CTHW, result_CTHW  # not beside the next
        yield original, result, codes_THW.numel()


def _in_8_bits(video_CTHW: Tensor, fps: float) -> Clip:
    """One frame after the other, to take less memory."""
    frames = [Clip.from_video(frame_C1HW, fps).frames_THWC for frame_C1HW in video_CTHW.split(1, dim=1)]
    return Clip(torch.cat(frames), fps)


def reconstruct_clip(clip: Clip, tokenizer: Tokenizer) -> tuple[Clip, int]:
    """A clip of any size through the tokenizer and back, with the number of codes it took."""
    pieces = (Clip(part_THWC, clip.fps) for part_THWC in clip.frames_THWC.split(tokenizer.frames_at_once))
    _, results, num_codes = zip(*reconstruct_pieces(pieces, tokenizer), strict=True)
    return Clip(torch.cat([result.frames_THWC for result in results]), clip.fps), sum(num_codes)


def _reconstruct_one(
    path: Path,
    pieces: Iterable[Clip],
    tokenizer: Tokenizer,
    folder: Path | None,
    side_by_side: bool,
    progress: Callable[[int], None] | None,
) -> Reconstructed:
    """Measure a clip as it passes, and write it where there is a folder."""
    meter, num_codes, height, width = FrameMeter(), 0, 0, 0

    def shown() -> Iterator[Clip]:
        nonlocal num_codes, height, width
        for original, result, more_codes in reconstruct_pieces(pieces, tokenizer):
            meter.add(original.frames_THWC, result.frames_THWC)
            num_codes, height, width = num_codes + more_codes, original.height, original.width
            if progress:
                progress(len(meter))
            both = [original.frames_THWC, result.frames_THWC]
            yield Clip(torch.cat(both, dim=2), result.fps) if side_by_side else result

    written = None
    if folder is None:
        for _ in shown():
            pass
    else:
        with writing_to(folder), next_number(folder) as number:
            written = Clip.write_pieces(folder / f"{number}-{slug(path.stem)}.mp4", shown())
    return Reconstructed(
        name=str(path),
        shape=f"{len(meter)}x{height}x{width}",
        figures=meter.figures(),
        bits_per_pixel=num_codes * tokenizer.bits_per_code() / (len(meter) * height * width),
        path=written,
    )


def _pieces(
    path: Path, tokenizer: Tokenizer, size: int | None, fps: float | None, num_frames: int | None
) -> Iterator[Clip]:
    """A clip, or its first frames, in the pieces that the tokenizer takes."""
    if num_frames is None:
        pieces = Clip.read_pieces(path, tokenizer.frames_at_once, size=size, fps=fps)
    else:
        clip = Clip.read(path, num_frames=num_frames, size=size, fps=fps)
        pieces = (Clip(part_THWC, clip.fps) for part_THWC in clip.frames_THWC.split(tokenizer.frames_at_once))
    return within_memory(pieces, path, tokenizer.memory_of)
