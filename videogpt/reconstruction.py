"""Clips through a video tokenizer and back: what does it lose, and what does a clip cost in bits?

    for row in reconstruct(find_clips(["clip.mp4"]), tokenizer, output="reconstructions"):
        print(row.line())

Takes any size and length. Sides are padded to the tokenizer's stride by repeating the edge, and cut back; the
last frame is held until the count fits, and cut off. Frames go through in pieces, so memory beyond the clip's
own frames does not grow with its length; a tokenizer without streams gets windows (`window_reconstruction`). The
figures compare what is written, in 8 bits, with what was read.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from videogpt.bad_clips import BadClips
from videogpt.output_folder import naming, open_folder
from videogpt.outputs import next_number, slug
from videogpt.window_reconstruction import reconstruct_windows
from videogpt_tokenizer.clip import Clip
from videogpt_tokenizer.clip_folder import ClipFolder
from videogpt_tokenizer.clip_reader import check_request
from videogpt_tokenizer.loading import AnyTokenizer
from videogpt_tokenizer.metrics import ssim
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# B batch (1), C colours, T frames, H/W height and width

LATENTS_AT_ONCE = 8
SMALLEST_SSIM_SIDE = 11
"""SSIM looks at windows of 11 x 11 pixels."""


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """Figures of one clip, or the mean of several."""

    name: str
    """The file read, or what the mean is over."""
    shape: str
    """Frames x height x width."""
    psnr: float
    """Peak signal-to-noise ratio in dB; 100 where nothing is lost."""
    ssim: float
    """Structural similarity, 1 where nothing is lost; NaN below 11 pixels a side."""
    bits_per_pixel: float
    """Bits of the codes for each pixel of each frame, those for padding included; 24 before."""
    path: Path | None = None
    """The file written."""

    def line(self) -> str:
        """One line for a terminal."""
        written = f" -> {self.path}" if self.path else ""
        figures = f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}, {self.bits_per_pixel:.4f} bits per pixel"
        return f"{self.name} ({self.shape}): {figures}{written}"


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
    bad: BadClips | None = None,
) -> Iterator[Reconstructed]:
    """Reconstruct clips one after another.

    Args:
        paths: Video or image files.
        tokenizer: On the device it shall run on.
        output: Folder for NNNN-name.mp4, made if need be; nothing in it is overwritten. None: measure only.
        size: Height and width to scale and cut to first.
        fps: Rate to resample to first.
        bad: Takes the clips that cannot be read, by their paths; None: such a clip is an error.

    Raises:
        ValueError: a file cannot be decoded and there is no `bad`, or a setting is out of range.
        OSError: `output` cannot be written. A folder that nothing has been written to is not left behind.
    """
    check_request(fps, size)
    with nullcontext() if output is None else open_folder(Path(output)) as folder:
        for path in paths:
            try:
                clip = Clip.read(path, size=size, fps=fps)
            except (ValueError, OSError) as error:
                if bad is None:
                    raise
                bad.add(str(path), error)
                continue
            result, num_codes = reconstruct_clip(clip, tokenizer)
            yield Reconstructed(
                name=str(path),
                shape=f"{len(clip)}x{clip.height}x{clip.width}",
                bits_per_pixel=num_codes * math.log2(tokenizer.codebook_size) / (len(clip) * clip.height * clip.width),
                path=None if folder is None else _write(result, folder, path.stem),
                **_fidelity(result, clip),
            )


def reconstruct_clip(clip: Clip, tokenizer: AnyTokenizer) -> tuple[Clip, int]:
    """A clip of any size through the tokenizer and back, with the number of codes it took."""
    if not isinstance(tokenizer, VideoTokenizer):
        return reconstruct_windows(clip, tokenizer)
    stride, side = tokenizer.time_stride, tokenizer.space_stride
    num_frames = tokenizer.num_frames(math.ceil((len(clip) - 1) / stride) + 1)
    source_T = torch.arange(num_frames).clamp(max=len(clip) - 1)
    padding = (0, -clip.width % side, 0, -clip.height % side, 0, 0)
    device = next(tokenizer.parameters()).device
    stream, pieces, num_codes = tokenizer.stream(), [], 0
    for frames_T in source_T.split(LATENTS_AT_ONCE * stride):
        video_CTHW = Clip(clip.frames_THWC[frames_T], clip.fps).video_CTHW().to(device)
        codes_BTHW = stream.encode(F.pad(video_CTHW[None], padding, mode="replicate"))
        video_BCTHW = stream.decode(codes_BTHW)[..., : clip.height, : clip.width]
        pieces.append(Clip.from_video(video_BCTHW[0], clip.fps).frames_THWC)
        num_codes += codes_BTHW.numel()
    return Clip(torch.cat(pieces)[: len(clip)], clip.fps), num_codes


def mean_of(rows: Sequence[Reconstructed]) -> Reconstructed:
    """The mean of every figure over the clips, each counting once."""
    return Reconstructed(
        name="mean",
        shape=f"{len(rows)} clips",
        psnr=_mean([row.psnr for row in rows]),
        ssim=_mean([row.ssim for row in rows if not math.isnan(row.ssim)]),
        bits_per_pixel=_mean([row.bits_per_pixel for row in rows]),
    )


def _fidelity(result: Clip, clip: Clip) -> dict[str, float]:
    """PSNR and SSIM of a whole clip as in `videogpt_tokenizer.metrics`, a few frames at a time."""
    measurable = min(clip.height, clip.width) >= SMALLEST_SSIM_SIDE
    errors, similarities, counts = [], [], []
    for frames in torch.arange(len(clip)).split(32):
        video, target = (_video_BCTHW(source.frames_THWC[frames]) for source in (result, clip))
        errors.append(float((video - target).square().mean()))
        similarities.append(float(ssim(video, target)) if measurable else math.nan)
        counts.append(len(frames))
    weights = torch.tensor(counts) / len(clip)
    error = max(4e-10, float(weights @ torch.tensor(errors)))
    return {"psnr": 10 * math.log10(4 / error), "ssim": float(weights @ torch.tensor(similarities))}


def _video_BCTHW(frames_THWC: Tensor) -> Tensor:
    return rearrange(Clip(frames_THWC, 1.0).video_CTHW(), "c t h w -> 1 c t h w")


def _write(clip: Clip, folder: Path, stem: str) -> Path:
    with naming(folder), next_number(folder) as number:
        return clip.write(folder / f"{number}-{slug(stem)}.mp4")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
