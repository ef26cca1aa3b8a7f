"""A folder of codes on disk: what token shards and codes of whole clips have in common.

    manifest.json       what the folder holds, see `CodesManifest` and `TokenShardsManifest`
    codes.npy           codes, in the smallest unsigned type that holds them
    NAME.jsonl          one JSON object per row or clip, with its `clip` and `caption` at least

    manifest = TokenShardsManifest.read(folder)
    lines = read_lines(folder, manifest)
    codes_NTHW = map_codes(folder, manifest, (manifest.num_clips, *manifest.grid))

Reading is strict: a file that is missing, truncated, altered, of another kind or of a later version is a ValueError
that names it.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from videogpt.provenance import versions
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.skipped import SkippedClips, UnreadableClipError
from videogpt_tokenizer.files.json_files import check_version, parse_json
from videogpt_tokenizer.grid import Grid, Tokenizer

CODES_NAME = "codes.npy"
REMEDY = "tokenize the clips again"

_MANIFEST_NAME = "manifest.json"
_VERSION = 1

Made = TypeVar("Made")
Manifest = TypeVar("Manifest", bound="CodesManifest")


@dataclass(frozen=True, kw_only=True)
class CodesManifest:
    """What a folder of whole clips' codes holds; `manifest.json` has the same keys."""

    FORMAT: ClassVar[str] = "videogpt-clip-codes"
    LINES_NAME: ClassVar[str] = "clips.jsonl"
    CALLED: ClassVar[str] = "codes of whole clips, which videogpt encode makes"

    tokenizer_fingerprint: str
    """Of the video tokenizer that made the codes."""
    codebook_size: int
    """Codes are 0 to codebook_size - 1."""
    num_clips: int
    """Lines of the .jsonl file: clips, or windows of clips."""
    source: str
    """Name of the folder of clips."""
    skipped: list[str]
    """Clips left out because they were too short or could not be read."""
    versions: dict[str, str]
    """Versions of the libraries that had a part in the codes."""

    def __post_init__(self) -> None:
        if not are_counts(self.codebook_size, self.num_clips):
            raise ValueError(f"{self.codebook_size=} and {self.num_clips=} must be whole and above 0")
        if not (isinstance(self.skipped, list) and all(isinstance(name, str) for name in self.skipped)):
            raise ValueError(f"{self.skipped=} must be a list of names")

    @classmethod
    def read(cls: type[Manifest], folder: str | Path, tokenizer_fingerprint: str | None = None) -> Manifest:
        """Read `manifest.json` of a folder; ValueError as above, or if of another tokenizer than the one expected."""
        path = Path(folder) / _MANIFEST_NAME
        if not path.is_file():
            raise ValueError(f"{path} is missing: {folder} holds no {cls.CALLED}; tokenize clips into it")
        with _naming(path):
            content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != cls.FORMAT:
            raise ValueError(f"{path} does not describe {cls.FORMAT}: is this the right folder of {cls.CALLED}?")
        check_version(content, _VERSION, path)
        content.pop("version", None)
        wrong = content.keys() ^ {field.name for field in dataclasses.fields(cls)}
        if wrong:
            raise ValueError(f"{path}: keys missing or unknown: {', '.join(sorted(wrong))}; {REMEDY}")
        with _naming(path):
            manifest = cls(**content)
        if tokenizer_fingerprint not in (None, manifest.tokenizer_fingerprint):
            raise ValueError(
                f"{folder} was made by tokenizer {manifest.tokenizer_fingerprint}, not by {tokenizer_fingerprint}: "
                f"its codes mean something else to it; give that tokenizer, or {REMEDY}"
            )
        return manifest

    def write(self, folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write `manifest.json` and the lines."""
        (folder / self.LINES_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        text = json.dumps({"format": self.FORMAT, "version": _VERSION, **dataclasses.asdict(self)}, indent=2)
        (folder / _MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class TokenShardsManifest(CodesManifest):
    """What a folder of token shards holds, where all rows are alike; `manifest.json` has the same keys."""

    FORMAT: ClassVar[str] = "videogpt-token-shards"
    LINES_NAME: ClassVar[str] = "captions.jsonl"
    CALLED: ClassVar[str] = "token shards"

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

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "grid", Grid(*self.grid))  # a list when read
        if not are_counts(*self.grid, self.num_frames, self.height, self.width):
            sizes = f"{self.num_frames=}, {self.height=} and {self.width=}"
            raise ValueError(f"{self.grid=}, {sizes} must be whole and above 0")
        if not (isinstance(self.fps, (int, float)) and 0 < self.fps < math.inf):
            raise ValueError(f"{self.fps=} must be a number above 0")


def read_lines(
    folder: Path, manifest: CodesManifest, is_sound: Callable[[dict[str, Any]], bool] = bool
) -> list[dict[str, Any]]:
    """The lines beside a manifest, as many as it says: each has a clip and a caption, and is sound."""
    path = folder / manifest.LINES_NAME
    with _naming(path), path.open(encoding="utf-8", newline="\n") as file:
        lines = [parse_json(line) for line in file]
        if len(lines) != manifest.num_clips:
            raise ValueError(f"{len(lines)} lines for {manifest.num_clips} clips")
        for line in lines:
            if not (isinstance(line["clip"], str) and isinstance(line["caption"], str) and is_sound(line)):
                raise ValueError(f"{line} is no clip")
    return lines


def map_codes(folder: Path, manifest: CodesManifest, shape: Sequence[int]) -> np.ndarray:
    """Memory map of `codes.npy`, which must have this shape."""
    path = folder / CODES_NAME
    with _naming(path):
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
    found, expected = f"{codes.dtype} {codes.shape}", f"{smallest_type(manifest.codebook_size)} {tuple(shape)}"
    if found != expected:
        raise ValueError(f"{path} holds {found}, its manifest says {expected}: {REMEDY}")
    return codes


def checked_codes(codes: np.ndarray, folder: Path, manifest: CodesManifest, whose: str) -> Tensor:
    """Codes of one row or clip as int64; ValueError where the tokenizer has no such code."""
    if codes.max() >= manifest.codebook_size:
        raise ValueError(f"{folder / CODES_NAME} was altered, {whose} is impossible: {REMEDY}")
    return torch.from_numpy(codes.astype(np.int64))


def smallest_type(codebook_size: int) -> np.dtype:
    """The smallest unsigned type that holds every code."""
    return np.min_scalar_type(codebook_size - 1)


def are_counts(*values: Any) -> bool:
    """Whether all are whole numbers above zero."""
    return all(type(value) is int and value > 0 for value in values)


def usable_clips(
    records: ClipFolder,
    make: Callable[[ClipRecord], Made],
    bad: SkippedClips,
    progress: Callable[[int, int], None] | None,
    left_out: Callable[[str], None] | None,
) -> Iterator[tuple[ClipRecord, Made]]:
    """Every clip with what `make` makes of it; where that is an UnreadableClipError, the clip goes to `bad`.

    `left_out` is told why. ValueError as soon as too many clips are bad.
    """
    for done, record in enumerate(records, start=1):
        try:
            made = make(record)
        except UnreadableClipError as error:
            bad.add(records.name_of(record), error)
            if left_out:
                left_out(str(error))
            bad.check(done)
        else:
            yield record, made
        if progress:
            progress(done, len(records))


def made_from(tokenizer: Tokenizer, records: ClipFolder, bad: SkippedClips) -> dict[str, Any]:
    """What a manifest says of where its codes come from."""
    return {
        "tokenizer_fingerprint": tokenizer.fingerprint(),
        "codebook_size": tokenizer.codebook_size,
        "source": records.folder.resolve().name,
        "skipped": bad.names,
        "versions": versions("torch", "av"),
    }


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file that an error is about, and the remedy. NumPy reads headers with Python's own parser."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {REMEDY}") from error
    except (ValueError, TypeError, KeyError, EOFError, ArithmeticError, SyntaxError, TokenError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}): {REMEDY}") from error
