"""Clips -> token shards: what a tokenizer makes of a folder of clips, written once, before any training.

    tokenize_clips(ClipFolder("clips"), tokenizer, Path("shards"), num_frames=17, size=64, fps=8)

A folder of token shards holds `manifest.json`, `codes.npy` (smallest unsigned type, one row per clip or per
window of one) and `captions.jsonl` (one line per row). It appears whole or not at all, never over another,
and is read by `token_reader`.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from videogpt.provenance import versions
from videogpt_tokenizer.any_tokenizer import AnyTokenizer
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, BadClips
from videogpt_tokenizer.files.json_files import check_version, parse_json
from videogpt_tokenizer.files.whole_folder import whole_folder
from videogpt_tokenizer.video_tokenizer import Grid

# B batch, C colours, T frames (latent ones where codes are meant), H/W height and width

FORMAT, VERSION = "videogpt-token-shards", 1
MANIFEST_NAME = "manifest.json"
CODES_NAME = "codes.npy"
CAPTIONS_NAME = "captions.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TokenShardsManifest:
    """What a folder of token shards holds; `manifest.json` has the same keys."""

    tokenizer_fingerprint: str
    """Of the video tokenizer that made the codes."""
    codebook_size: int
    """Codes are 0 to codebook_size - 1."""
    num_clips: int
    """Rows: clips, or windows of clips."""
    grid: Grid
    """Codes of each row along time, height and width."""
    num_frames: int
    """Frames of pixels behind each row."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float
    """Frames of pixels per second."""
    source: str
    """Name of the folder of clips."""
    skipped: list[str] = field(default_factory=list)
    """Clips left out because they were too short or could not be read."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that had a part in the codes."""

    @classmethod
    def read(cls, folder: str | Path) -> "TokenShardsManifest":
        """Read `manifest.json` of a folder; ValueError where it is missing, damaged or of another kind."""
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise ValueError(f"{path} is missing: {folder} holds no token shards; tokenize clips into it")
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not valid JSON ({error}): tokenize the clips again") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"{path} does not describe {FORMAT}: is this the right folder?")
        check_version(content, VERSION, path)
        content.pop("version", None)
        wrong = content.keys() ^ {entry.name for entry in fields(cls)}
        if wrong:
            keys = ", ".join(sorted(wrong))
            raise ValueError(f"{path}: keys missing or unknown: {keys}; tokenize the clips again")
        return cls(**{**content, "grid": Grid(*content["grid"])})

    def write(self, folder: Path) -> None:
        """Write `manifest.json`."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=2)
        (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def codes_dtype(codebook_size: int) -> np.dtype:
    """The smallest unsigned type that holds every code."""
    return np.min_scalar_type(codebook_size - 1)


class Window(NamedTuple):
    """A stretch of a clip that becomes one row."""

    clip: Clip
    caption: str
    source: str
    first_frame: int


def tokenize_clips(
    source: ClipFolder | str | Path,
    tokenizer: AnyTokenizer,
    output: str | Path,
    *,
    num_frames: int,
    size: int | tuple[int, int],
    fps: float | None = None,
    batch_size: int = 16,
    clips_per_source: int | Literal["all"] = 1,
    max_bad_share: float = MAX_BAD_SHARE,
    progress: Callable[[int, int], None] | None = None,
) -> TokenShardsManifest:
    """Write the codes of a folder of clips. Runs where the tokenizer is, in float32 and evaluation mode.

    Args:
        source: Clips and captions, or the path of a folder of them.
        tokenizer: Makes the codes; its fingerprint goes into the manifest.
        output: Folder to write; must not exist yet, or be empty.
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
    bad = BadClips(len(records), max_bad_share)
    cutter = _Cutter(records, num_frames, size_HW, fps, clips_per_source)
    with whole_folder(Path(output)) as partial:
        with _RowWriter(partial, tokenizer.eval(), grid, batch_size) as writer:
            for window in cutter.windows(bad, progress):
                writer.add(window)
        assert cutter.fps is not None
        manifest = TokenShardsManifest(
            tokenizer_fingerprint=tokenizer.fingerprint(),
            codebook_size=tokenizer.codebook_size,
            num_clips=writer.rows,
            grid=grid,
            num_frames=num_frames,
            height=size_HW[0],
            width=size_HW[1],
            fps=cutter.fps,
            source=records.folder.resolve().name,
            skipped=[clip.name for clip in bad.clips],
            versions=versions("torch", "av"),
        )
        manifest.write(partial)
    return manifest


class _Cutter:
    """Reads the clips one after another and cuts rows."""

    def __init__(
        self,
        records: ClipFolder,
        num_frames: int,
        size_HW: tuple[int, int],
        fps: float | None,
        count: int | Literal["all"],
    ) -> None:
        self.records = records
        self.num_frames = num_frames
        self.size_HW = size_HW
        self.fps = fps
        """Frames per second of every row; where none is asked for, that of the first good clip."""
        self.count: int | Literal["all"] = count

    def windows(self, bad: BadClips, progress: Callable[[int, int], None] | None) -> Iterator[Window]:
        """All rows; ValueError as soon as too many clips are bad."""
        total = len(self.records)
        for done, record in enumerate(self.records, start=1):
            try:
                windows = self._cut(record)
            except (ValueError, OSError) as error:
                windows = []
                bad.add(self.records.name_of(record), error)
                bad.check(done)
            yield from windows
            if progress:
                progress(done, total)
        if bad.clips:
            log.warning("%d of %d clips were left out: %s", len(bad.clips), total, bad.some())

    def _cut(self, record: ClipRecord) -> list[Window]:
        """At least one window; ValueError or OSError where the clip cannot be read or is too short."""
        wanted = self.num_frames if self.count == 1 else None
        clip = Clip.read(record.path, fps=self.fps, size=self.size_HW, num_frames=wanted)
        if len(clip) < self.num_frames:
            raise ValueError(f"{record.path}: has {len(clip)} of {self.num_frames} frames")
        self.fps = clip.fps
        windows: list[Window] = []
        for first in self._first_frames(len(clip)):
            part = Clip(clip.frames_THWC[first : first + self.num_frames], clip.fps)
            windows.append(Window(part, record.caption, self.records.name_of(record), first))
        return windows

    def _first_frames(self, frames: int) -> list[int]:
        count = frames // self.num_frames if self.count == "all" else self.count
        room = frames - self.num_frames
        return sorted({round(i * room / max(1, count - 1)) for i in range(count)})


class _RowWriter:
    """Appends rows to `codes.npy` and `captions.jsonl` of a folder, encoding a batch at a time."""

    def __init__(self, folder: Path, tokenizer: AnyTokenizer, grid: Grid, batch_size: int) -> None:
        self.rows = 0
        self._tokenizer = tokenizer
        self._grid = grid
        self._batch_size = batch_size
        self._waiting: list[Window] = []
        self._dtype = codes_dtype(tokenizer.codebook_size)
        self._codes = open(folder / CODES_NAME, "wb")
        self._captions = open(folder / CAPTIONS_NAME, "w", encoding="utf-8")
        self._first_row = self._write_header()

    def __enter__(self) -> "_RowWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._codes, self._captions:
            if kind is None:
                self._flush()
                end = self._write_header()
                assert end == self._first_row, "the header outgrew its place"

    def add(self, window: Window) -> None:
        """Take a further row; it is written as soon as a batch is full."""
        self._waiting.append(window)
        if len(self._waiting) == self._batch_size:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        device = next(self._tokenizer.parameters()).device
        video_BCTHW = torch.stack([window.clip.video_CTHW() for window in self._waiting]).to(device)
        with torch.autocast(device.type, enabled=False):
            codes_BTHW = self._tokenizer.encode(video_BCTHW)
        self._codes.write(codes_BTHW.cpu().numpy().astype(self._dtype).tobytes())
        for window in self._waiting:
            line = {"caption": window.caption, "clip": window.source, "first_frame": window.first_frame}
            self._captions.write(json.dumps(line) + "\n")
        self.rows += len(self._waiting)
        self._waiting.clear()

    def _write_header(self) -> int:
        """Write the .npy header for the rows so far; NumPy leaves room in it for the first axis to grow.

        Returns the offset of the first row.
        """
        self._codes.seek(0)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *self._grid)}
        np.lib.format.write_array_header_1_0(self._codes, header)
        return self._codes.tell()
