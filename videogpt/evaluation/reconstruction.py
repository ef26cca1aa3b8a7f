"""Clips through a video tokenizer and back: what does it lose, and what does a clip cost in bits?

    for row in reconstruct(find_clips(["clip.mp4"]), tokenizer, output="reconstructions"):
        print(row.line())

Takes any size and length. Sides are padded to the tokenizer's stride by repeating the edge, and cut back; the
last frame is held until the count fits, and cut off. A clip is read, reconstructed, measured and written in pieces, so
memory does not grow with its length; a tokenizer without streams gets windows (`window_reconstruction`). The figures
compare what is written, in 8 bits, with what was read.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt.evaluation.frame_meter import FrameFigures, FrameMeter, PlaceFigures, mean, mean_figures, place_figures
from videogpt.evaluation.report import Report
from videogpt.evaluation.window_reconstruction import reconstruct_windows
from videogpt_tokenizer.any_size import LATENTS_AT_ONCE, pad_sides
from videogpt_tokenizer.any_tokenizer import AnyTokenizer
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import BadClips
from videogpt_tokenizer.files.numbered import next_number, slug
from videogpt_tokenizer.files.output import output_folder, writing_to
from videogpt_tokenizer.video_tokenizer import TokenizerStream, VideoTokenizer

# B batch (1), C colours, T frames, H/W height and width


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """One clip, or the mean of several."""

    name: str
    """The file read, or what the mean is over."""
    shape: str
    """Frames x height x width."""
    figures: FrameFigures
    """How close it is."""
    bits_per_pixel: float
    """Bits of the codes for each pixel of each frame, those for padding included; 24 before."""
    path: Path | None = None
    """The file written."""

    def line(self) -> str:
        """One line for a terminal."""
        written, figures = f" -> {self.path}" if self.path else "", self.figures
        told = {
            f"PSNR {figures.psnr:.2f} dB": figures.psnr,
            f"SSIM {figures.ssim:.4f}": figures.ssim,
            f"temporal PSNR {figures.temporal_psnr:.2f} dB": figures.temporal_psnr,
            f"{self.bits_per_pixel:.4f} bits per pixel": self.bits_per_pixel,
        }
        known = ", ".join(text for text, value in told.items() if not math.isnan(value))
        return f"{self.name} ({self.shape}): {known}{written}"


class Stretch(NamedTuple):
    """Frames of a clip and what has become of them."""

    original: Clip
    result: Clip
    num_codes: int
    """Codes it took, those for padding included."""


class UnreadableError(ValueError):
    """A clip cannot be read."""


def find_clips(
    names: Sequence[str | Path], file_column: str = "file_name", caption_column: str = "caption"
) -> list[Path]:
    """The files themselves, and in place of a folder its clips, found as `ClipFolder` does.

    Raises:
        ValueError: there is no such file or folder, or a folder without clips or with wrong metadata.
    """
    paths: list[Path] = []
    for path in map(Path, names):
        if not path.exists():
            raise ValueError(f"{path}: there is no such file or folder")
        if path.is_dir():
            paths += [record.path for record in ClipFolder(path, file_column, caption_column)]
        else:
            paths.append(path)
    return paths


def reconstruct(
    paths: Sequence[Path],
    tokenizer: AnyTokenizer,
    output: str | Path | None = None,
    *,
    size: int | None = None,
    fps: float | None = None,
    side_by_side: bool = False,
    bad: BadClips | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Reconstructed]:
    """Reconstruct clips one after another.

    Args:
        paths: Video or image files.
        tokenizer: On the device it shall run on.
        output: Folder for NNNN-name.mp4, made if need be; nothing in it is overwritten. None: measure only.
        size: Height and width to scale and cut to first.
        fps: Rate to resample to first.
        side_by_side: Write the original left of the reconstruction.
        bad: Takes the clips that cannot be read, by their paths; None: such a clip is an error.
        progress: Called with the frames of the clip so far, as they are done.

    Raises:
        ValueError: a file cannot be decoded and there is no `bad`, or a setting is out of range.
        OSError: `output` cannot be written. A folder that nothing has been written to is not left behind.
    """
    check_request(fps, size)
    if side_by_side and output is None:
        raise ValueError("side_by_side is for files: name an output folder, too")
    with nullcontext() if output is None else output_folder(Path(output)) as folder:
        for path in paths:
            pieces = _read(path, frames_at_once(tokenizer), size, fps)
            job = _Job(reconstruct_pieces(pieces, tokenizer), side_by_side, progress)
            try:
                written = job.measure() if folder is None else _write(job, folder, path.stem)
            except UnreadableError as error:
                if bad is None:
                    raise
                bad.add(str(path), error)
                continue
            yield job.row(str(path), tokenizer, written)


def frames_at_once(tokenizer: AnyTokenizer) -> int:
    """Length of the pieces that clips go through in."""
    if isinstance(tokenizer, VideoTokenizer):
        return LATENTS_AT_ONCE * tokenizer.time_stride
    return tokenizer.clip_frames


def reconstruct_pieces(pieces: Iterable[Clip], tokenizer: AnyTokenizer) -> Iterator[Stretch]:
    """A clip that comes in pieces through the tokenizer and back; frames come out as their latent frame fills."""
    if not isinstance(tokenizer, VideoTokenizer):
        yield from (Stretch(piece, *reconstruct_windows(piece, tokenizer)) for piece in pieces)
        return
    stream, fps, waiting_THWC = tokenizer.stream(), 1.0, torch.empty(0)
    for piece in pieces:
        fps = piece.fps
        waiting_THWC = torch.cat([waiting_THWC, piece.frames_THWC]) if len(waiting_THWC) else piece.frames_THWC
        result_THWC, num_codes = _through(stream, piece.frames_THWC)
        ready = len(result_THWC)
        if ready:
            yield Stretch(Clip(waiting_THWC[:ready], fps), Clip(result_THWC, fps), num_codes)
        waiting_THWC = waiting_THWC[ready:]
    if len(waiting_THWC):
        held_THWC = waiting_THWC[-1:].expand(tokenizer.time_stride - len(waiting_THWC), -1, -1, -1)
        result_THWC, num_codes = _through(stream, held_THWC)
        yield Stretch(Clip(waiting_THWC, fps), Clip(result_THWC[: len(waiting_THWC)], fps), num_codes)


def reconstruct_clip(clip: Clip, tokenizer: AnyTokenizer) -> tuple[Clip, int]:
    """A clip of any size through the tokenizer and back, with the number of codes it took."""
    parts = clip.frames_THWC.split(frames_at_once(tokenizer))
    stretches = list(reconstruct_pieces((Clip(part_THWC, clip.fps) for part_THWC in parts), tokenizer))
    frames_THWC = torch.cat([stretch.result.frames_THWC for stretch in stretches])
    return Clip(frames_THWC, clip.fps), sum(stretch.num_codes for stretch in stretches)


def mean_of(rows: Sequence[Reconstructed]) -> Reconstructed:
    """The mean of every figure over the clips, each counting once."""
    return Reconstructed(
        name="mean",
        shape=f"{len(rows)} clips",
        figures=mean_figures([row.figures for row in rows]),
        bits_per_pixel=mean([row.bits_per_pixel for row in rows]),
    )


def places_line(rows: Sequence[Reconstructed], tokenizer: VideoTokenizer) -> str:
    """Whether frames differ by their place, in one line for a terminal."""
    return _places(rows, tokenizer).line()


def report_of(
    rows: Sequence[Reconstructed], tokenizer: AnyTokenizer, command: str, settings: dict[str, object]
) -> Report:
    """All figures: of every clip, the mean, by place where the tokenizer is causal, and by index of the frame.

    Args:
        rows: One or more.
        command: What the report says it came from.
        settings: Goes into the protocol as it is.
    """
    whole, clips = mean_of(rows), [row.figures for row in rows]
    protocol: dict[str, object] = {
        "tokenizer": tokenizer.fingerprint(),
        "pictures": "RGB in 8 bits as written before the video codec, against those read; means count every clip once",
        "temporal PSNR": "of the changes from frame to frame; flicker is the mean size of their error in levels of 255",
        "place": f"0 for the first frame, then 1 to {tokenizer.time_stride} within each latent frame",
        "frames at once": frames_at_once(tokenizer),
        "clips that have the frame": [
            sum(index < len(clip.psnr_T) for clip in clips) for index in range(len(whole.figures.psnr_T))
        ],
    }
    report = Report.start(command, protocol | settings)

    def add(name: str, value: float, unit: str) -> None:
        if not math.isnan(value):  # which JSON does not know
            report.add(name, value, unit)

    for row in (*rows, whole):
        add(f"{row.name}: PSNR", row.figures.psnr, "dB")
        add(f"{row.name}: SSIM", row.figures.ssim, "")
        add(f"{row.name}: temporal PSNR", row.figures.temporal_psnr, "dB")
        add(f"{row.name}: flicker", row.figures.flicker, "levels")
        add(f"{row.name}: bits per pixel", row.bits_per_pixel, "bits")
    if isinstance(tokenizer, VideoTokenizer):
        places = _places(rows, tokenizer)
        for place, value in enumerate((places.first, *places.frames)):
            add(f"PSNR at place {place}", value, "dB")
        for place, value in enumerate(places.changes, start=1):
            add(f"PSNR of the change into place {place}", value, "dB")
    for index, value in enumerate(whole.figures.psnr_T):
        add(f"PSNR of frame {index}", value, "dB")
    for index, value in enumerate(whole.figures.change_psnr_T):
        add(f"PSNR of the change into frame {index}", value, "dB")
    return report


def write_report(report: Report, folder: Path) -> Path:
    """Write NNNN-figures.json into the folder of the reconstructions, which it leaves as they are.

    Raises:
        OSError: it cannot be written.
    """
    with writing_to(folder), next_number(folder) as number:
        path = folder / f"{number}-figures.json"
        report.write(path)
    return path


def _places(rows: Sequence[Reconstructed], tokenizer: VideoTokenizer) -> PlaceFigures:
    return place_figures([row.figures for row in rows], tokenizer.time_stride)


class _Job:
    """One clip on its way: measures what passes."""

    def __init__(
        self, stretches: Iterator[Stretch], side_by_side: bool, progress: Callable[[int], None] | None
    ) -> None:
        self.stretches = stretches
        self.progress = progress
        self.side_by_side = side_by_side
        self.meter = FrameMeter()
        self.num_codes = 0
        self.size_HW = (0, 0)

    def shown(self) -> Iterator[Clip]:
        """What is to be written, measured on the way."""
        for original, result, num_codes in self.stretches:
            self.meter.add(original.frames_THWC, result.frames_THWC)
            self.num_codes += num_codes
            self.size_HW = original.height, original.width
            if self.progress:
                self.progress(len(self.meter))
            both = [original.frames_THWC, result.frames_THWC]
            yield Clip(torch.cat(both, dim=2), result.fps) if self.side_by_side else result

    def measure(self) -> None:
        """Let all pass."""
        for _ in self.shown():
            pass

    def row(self, name: str, tokenizer: AnyTokenizer, path: Path | None) -> Reconstructed:
        frames, (height, width) = len(self.meter), self.size_HW
        causal = isinstance(tokenizer, VideoTokenizer)
        bits = tokenizer.bits_per_code() if causal else math.log2(tokenizer.codebook_size)
        return Reconstructed(
            name=name,
            shape=f"{frames}x{height}x{width}",
            figures=self.meter.figures(),
            bits_per_pixel=self.num_codes * bits / (frames * height * width),
            path=path,
        )


def _read(path: Path, num_frames: int, size: int | None, fps: float | None) -> Iterator[Clip]:
    try:
        yield from Clip.read_pieces(path, num_frames, size=size, fps=fps)
    except ValueError as error:
        raise UnreadableError(str(error)) from error
    except OSError as error:  # as a writer's error it would be taken for one of the output
        raise UnreadableError(f"{path}: {error.strerror or error}") from error


def _through(stream: TokenizerStream, frames_THWC: Tensor) -> tuple[Tensor, int]:
    """Further frames in; out come those whose latent frames they complete, and how many codes these are."""
    height, width = frames_THWC.shape[1:3]
    device = next(stream.tokenizer.parameters()).device
    video_BCTHW = Clip(frames_THWC, 1.0).video_CTHW()[None].to(device)
    codes_BTHW = stream.encode(pad_sides(video_BCTHW, stream.tokenizer.space_stride))
    if not codes_BTHW.numel():
        return frames_THWC[:0], 0
    result_BCTHW = stream.decode(codes_BTHW)[..., :height, :width]
    return Clip.from_video(result_BCTHW[0], 1.0).frames_THWC, codes_BTHW.numel()


def _write(job: _Job, folder: Path, stem: str) -> Path:
    with writing_to(folder), next_number(folder) as number:
        return Clip.write_pieces(folder / f"{number}-{slug(stem)}.mp4", job.shown())
