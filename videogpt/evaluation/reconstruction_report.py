"""All figures of reconstructed clips: the mean, by place within a latent frame, and by index of the frame.

rows = list(reconstruct(paths, tokenizer, "reconstructions"))
print(mean_of(rows).line())
write_figures(Path("reconstructions"), rows, tokenizer, "videogpt reconstruct ...", {"size": 128})
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videogpt.evaluation.frame_meter import EightBitFigures, mean, mean_by_place, mean_figures
from videogpt.evaluation.reconstruction import Reconstructed
from videogpt.evaluation.report import Report
from videogpt_tokenizer.files.numbered import next_number
from videogpt_tokenizer.files.output import writing_to
from videogpt_tokenizer.grid import Tokenizer
from videogpt_tokenizer.metrics import SSIM_PROTOCOL

# T frames


def mean_of(rows: Sequence[Reconstructed]) -> Reconstructed:
    """The mean of every figure over the clips, each counting once."""
    return Reconstructed(
        name="mean",
        shape=f"{len(rows)} clips",
        figures=mean_figures([row.figures for row in rows]),
        bits_per_pixel=mean([row.bits_per_pixel for row in rows]),
    )


def places_line(clips: Sequence[EightBitFigures], time_stride: int) -> str:
    """Whether frames differ by their place, in one line for a terminal; see `mean_by_place`."""

    def told(values: Sequence[float]) -> str:
        return " ".join(f"{value:.2f}" for value in values if not math.isnan(value))

    first, *within = mean_by_place([clip.psnr_T for clip in clips], time_stride)
    line = f"PSNR by place: {first:.2f} dB first"
    if all(map(math.isnan, within)):
        return line
    changes = mean_by_place([clip.change_psnr_T for clip in clips], time_stride)
    return f"{line}, {told(within)} within latent frames; of the change into it: {told(changes)}"


def write_figures(
    folder: Path, rows: Sequence[Reconstructed], tokenizer: Tokenizer, command: str, settings: dict[str, Any]
) -> Path:
    """Write all figures of one row or more as NNNN-figures.json into the folder of the reconstructions; its path.

    The report says that it came from `command`, and has `settings` in its protocol. OSError: it cannot be written.
    """
    whole, clips = mean_of(rows), [row.figures for row in rows]
    protocol = {
        "tokenizer": tokenizer.fingerprint(),
        "pictures": "RGB in 8 bits as written before the video codec, against those read; means count every clip once",
        "SSIM": SSIM_PROTOCOL,
        "temporal PSNR": "of the changes from frame to frame; flicker is the mean size of their error in levels of 255",
        "place": f"0 for the first frame, then 1 to {tokenizer.time_stride} within each latent frame",
        "frames at once": tokenizer.frames_at_once,
        "clips that have the frame": [
            sum(index < len(clip.psnr_T) for clip in clips) for index in range(len(whole.figures.psnr_T))
        ],
    }
    report = Report.start(command, protocol | settings)

    def add(name: str, value: float, unit: str) -> None:
        if not math.isnan(value):  # which JSON does not know
            report.add(name, value, unit)

    def add_each(name: str, values: Sequence[float]) -> None:
        for index, value in enumerate(values):
            add(f"{name} {index}", value, "dB")

    for row in (*rows, whole):
        add(f"{row.name}: PSNR", row.figures.psnr, "dB")
        add(f"{row.name}: SSIM", row.figures.ssim, "")
        add(f"{row.name}: temporal PSNR", row.figures.temporal_psnr, "dB")
        add(f"{row.name}: flicker", row.figures.flicker, "levels")
        add(f"{row.name}: bits per pixel", row.bits_per_pixel, "bits")
    if tokenizer.streams:
        add_each("PSNR at place", mean_by_place([clip.psnr_T for clip in clips], tokenizer.time_stride))
        changes = mean_by_place([clip.change_psnr_T for clip in clips], tokenizer.time_stride)
        add_each("PSNR of the change into place", changes)
    add_each("PSNR of frame", whole.figures.psnr_T)
    add_each("PSNR of the change into frame", whole.figures.change_psnr_T)
    with writing_to(folder), next_number(folder) as number:
        path = folder / f"{number}-figures.json"
        report.write(path)
    return path
