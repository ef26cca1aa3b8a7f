"""Clips -> token shards: what a tokenizer makes of a folder of clips, written once, before any training.

    tokenize_clips(ClipFolder("clips"), tokenizer, Path("shards"), num_frames=17, size=64, fps=8)

Each row of `codes.npy` is a window: a fixed number of frames cut from a clip. `reader` reads the folder.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from videogpt.tokens.shards import CODES_NAME, TokenShardsManifest, made_from, smallest_type, usable_clips
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, SkippedClips, UnreadableClipError
from videogpt_tokenizer.files.output import whole_folder
from videogpt_tokenizer.grid import Grid, Tokenizer

# B batch, C colours, T frames (latent ones where codes are meant), H/W height and width

log = logging.getLogger(__name__)


def tokenize_clips(
    source: ClipFolder | str | Path,
    tokenizer: Tokenizer,
    output: str | Path,
    *,
    num_frames: int,
    size: int | tuple[int, int],
    fps: float | None = None,
    batch_size: int = 16,
    clips_per_source: int | Literal["all"] = 1,
    max_bad_share: float = MAX_BAD_SHARE,
    progress: Callable[[int, int], None] | None = None,
    left_out: Callable[[str], None] | None = None,
) -> TokenShardsManifest:
    """Write the codes of a folder of clips. Runs where the tokenizer is, in float32 and evaluation mode.

    Args:
        source: Clips and captions, or the path of a folder of them.
        tokenizer: Makes the codes; its fingerprint goes into the manifest.
        output: Folder to write, which appears whole or not at all; must not exist yet, or be empty.
        num_frames: Frames per row, 1 + k * time_stride.
        size: Height and width in pixels, or one number for both.
        fps: Frames per second to resample to; None takes the rate of the first good clip for all.
        batch_size: Rows encoded at once.
        clips_per_source: Rows cut from each clip: 1 takes its first num_frames; more are spaced evenly from
            its first frame to its last, overlapping where they must; "all" is as many as fit side by side.
            With more than one, a whole clip is in memory at a time.
        max_bad_share: Share of clips that may be unreadable or shorter than num_frames; they are left out,
            named in the log and in the manifest.
        progress: Called with (clips done, clips in all) after every clip.
        left_out: Called with the reason for every clip that is left out.

    Raises:
        ValueError: the output holds something; sizes do not fit the tokenizer; too many bad clips or no good.
        OSError: the output cannot be written.
    """
    size_HW = (size, size) if isinstance(size, int) else size
    grid = tokenizer.grid(num_frames, *size_HW)
    if batch_size < 1 or (clips_per_source != "all" and clips_per_source < 1):
        raise ValueError(f"{batch_size=} and {clips_per_source=} must be at least 1")
    check_request(fps, size)
    records = source if isinstance(source, ClipFolder) else ClipFolder(source)
    bad = SkippedClips(len(records), max_bad_share)
    tokenizer, lines = tokenizer.eval(), []

    def read(record: ClipRecord) -> Clip:
        nonlocal fps
        enough = num_frames if clips_per_source == 1 else None
        clip = Clip.read(record.path, fps=fps, size=size_HW, num_frames=enough)
        if len(clip) < num_frames:
            raise UnreadableClipError(f"{record.path}: has {len(clip)} of {num_frames} frames")
        fps = clip.fps  # of all that follow
        return clip

    def windows() -> Iterator[tuple[Clip, dict[str, Any]]]:  # each with its line in `captions.jsonl`
        for record, clip in usable_clips(records, read, bad, progress, left_out):
            for first in _first_frames(len(clip), num_frames, clips_per_source):
                line = {"caption": record.caption, "clip": records.name_of(record), "first_frame": first}
                yield Clip(clip.frames_THWC[first : first + num_frames], clip.fps), line

    with whole_folder(Path(output)) as partial:
        with _codes_file(partial / CODES_NAME, smallest_type(tokenizer.codebook_size), grid) as append:
            rows = windows()
            while batch := list(islice(rows, batch_size)):
                video_BCTHW = torch.stack([window.video_CTHW() for window, _ in batch]).to(tokenizer.device)
                with torch.autocast(tokenizer.device.type, enabled=False):  # in float32 whatever surrounds it
                    append(tokenizer.encode(video_BCTHW))
                lines += [line for _, line in batch]
        if bad:
            log.warning("%d of %d clips were left out: %s", len(bad), len(records), bad.first_reasons())
        assert fps is not None, "there is a good clip, or too many are bad"
        manifest = TokenShardsManifest(
            **made_from(tokenizer, records, bad),
            num_clips=len(lines),
            grid=grid,
            num_frames=num_frames,
            height=size_HW[0],
            width=size_HW[1],
            fps=fps,
        )
        manifest.write(partial, lines)
    return manifest


def _first_frames(frames: int, num_frames: int, count: int | Literal["all"]) -> list[int]:
    """Where the windows of a clip of `frames` frames begin."""
    count = frames // num_frames if count == "all" else count
    room = frames - num_frames
    return sorted({round(i * room / max(1, count - 1)) for i in range(count)})


@contextmanager
def _codes_file(path: Path, dtype: np.dtype, grid: Grid) -> Iterator[Callable[[Tensor], None]]:
    """A .npy file that rows are appended to: how many is known, and written into its header, only at the end."""
    rows = 0
    with path.open("wb") as file:

        def write_header() -> int:
            file.seek(0)
            header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, *grid)}
            np.lib.format.write_array_header_1_0(file, header)  # leaves room for the first axis to grow
            return file.tell()

        def append(codes_BTHW: Tensor) -> None:
            nonlocal rows
            file.write(codes_BTHW.cpu().numpy().astype(dtype).tobytes())
            rows += len(codes_BTHW)

        first_row = write_header()
        yield append
        assert write_header() == first_row, "the header outgrew its place"
