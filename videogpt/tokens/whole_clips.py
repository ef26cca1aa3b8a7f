"""Whole clips of any length and picture size -> a folder of their codes, and back to clips.

    write_clip_codes("clips", tokenizer, "codes")
    for clip in ClipCodesFolder("codes", tokenizer.fingerprint()):
        Clip.write_pieces("clip.mp4", decode_pieces(clip.codes, clip.fps, tokenizer))

The folder holds `manifest.json`, `codes.npy` (smallest unsigned type, the codes of one clip after the other, each in
the order of time, height and width) and `clips.jsonl` (one line per clip: its grid of codes, and the frames, size and
rate that it has without padding). It appears whole or not at all. Clips pass through in pieces, so memory grows with
the codes alone. For tokenizers that stream. To train a model, where all rows are alike, there are `token_shards`.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from videogpt.provenance import versions
from videogpt.tokens.writer import CODES_NAME, MANIFEST_NAME, codes_dtype
from videogpt_tokenizer.any_size import LATENTS_AT_ONCE, ClipCodes, covering_grid, pad_sides
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, BadClips
from videogpt_tokenizer.files.json_files import check_version, parse_json
from videogpt_tokenizer.files.whole_folder import whole_folder
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# B batch (1), C colours, T frames (latent ones where codes are meant), H/W height and width

FORMAT, VERSION = "videogpt-clip-codes", 1
CLIPS_NAME = "clips.jsonl"
REMEDY = "tokenize the clips again"
SIZES = ("num_frames", "height", "width")


@dataclass(frozen=True, kw_only=True)
class ClipCodesManifest:
    """What a folder of clips' codes holds; `manifest.json` has the same keys."""

    tokenizer_fingerprint: str
    """Of the video tokenizer that made the codes."""
    codebook_size: int
    """Codes are 0 to codebook_size - 1."""
    num_clips: int
    source: str
    """Name of the folder of clips."""
    skipped: list[str] = field(default_factory=list)
    """Clips left out because they could not be read."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that had a part in the codes."""


class TimedCodes(NamedTuple):
    """Codes of one clip, and its frames per second."""

    codes: ClipCodes
    fps: float


class CodedClip(NamedTuple):
    """One clip of a folder."""

    name: str
    """Its place in the folder of clips."""
    caption: str
    codes: ClipCodes
    fps: float


def encode_pieces(pieces: Iterable[Clip], tokenizer: VideoTokenizer) -> TimedCodes:
    """A clip in one piece or more -> its codes; sides are padded by their edges, the last frame is held."""
    stream, device = tokenizer.stream(), next(tokenizer.parameters()).device
    parts, num_frames, last = [], 0, None

    def add(clip: Clip) -> None:
        video_BCTHW = clip.video_CTHW()[None].to(device)
        parts.append(stream.encode(pad_sides(video_BCTHW, tokenizer.space_stride))[0].cpu())

    for last in pieces:
        add(last)
        num_frames += len(last)
    assert last is not None, "a clip has frames"
    missing = (1 - num_frames) % tokenizer.time_stride
    if missing:
        add(Clip(last.frames_THWC[-1:].expand(missing, -1, -1, -1), last.fps))
    codes = ClipCodes(codes_THW=torch.cat(parts), num_frames=num_frames, height=last.height, width=last.width)
    return TimedCodes(codes, last.fps)


def decode_pieces(codes: ClipCodes, fps: float, tokenizer: VideoTokenizer) -> Iterator[Clip]:
    """Codes of a clip -> the clip in pieces, without what was padded.

    Raises:
        ValueError: the codes do not fit the clip's size, or this tokenizer.
    """
    grid = covering_grid(tokenizer, codes.num_frames, codes.height, codes.width)
    if tuple(codes.codes_THW.shape) != grid:
        raise ValueError(
            f"{codes.num_frames} frames of {codes.height} x {codes.width} take {tuple(grid)} codes of this tokenizer, "
            f"not {tuple(codes.codes_THW.shape)}: {REMEDY}"
        )
    stream, device, done = tokenizer.stream(), next(tokenizer.parameters()).device, 0
    for codes_THW in codes.codes_THW.split(LATENTS_AT_ONCE):
        video_BCTHW = stream.decode(codes_THW[None].to(device))
        cut_CTHW = video_BCTHW[0, :, : codes.num_frames - done, : codes.height, : codes.width]
        yield Clip.from_video(cut_CTHW, fps)
        done += video_BCTHW.shape[2]


def write_clip_codes(
    source: ClipFolder | str | Path,
    tokenizer: VideoTokenizer,
    output: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    fps: float | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    progress: Callable[[int, int], None] | None = None,
) -> ClipCodesManifest:
    """Write the codes of all clips of a folder, each at its full length. Runs where the tokenizer is, in float32.

    Args:
        source: Clips and captions, or the path of a folder of them.
        tokenizer: Makes the codes; its fingerprint goes into the manifest.
        output: Folder to write; must not exist yet, or be empty.
        size: Height and width in pixels to scale and cut to, or one number for both; None leaves each clip its own.
        fps: Frames per second to resample to; None leaves each clip its own.
        max_bad_share: Share of clips that may be unreadable; they are left out and named in the manifest.
        progress: Called with (clips done, clips in all) after every clip.

    Raises:
        ValueError: the output holds something; a size or rate is out of range; too many bad clips or no good.
        OSError: the output cannot be written.
    """
    check_request(fps, size)
    records = source if isinstance(source, ClipFolder) else ClipFolder(source)
    bad = BadClips(len(records), max_bad_share)
    dtype, frames_at_once = codes_dtype(tokenizer.codebook_size), LATENTS_AT_ONCE * tokenizer.time_stride
    codes, lines = [], []
    with whole_folder(Path(output)) as partial:
        for done, record in enumerate(records, start=1):
            name = records.name_of(record)
            try:
                pieces = Clip.read_pieces(record.path, frames_at_once, size=size, fps=fps)
                coded = encode_pieces(pieces, tokenizer.eval())
            except (ValueError, OSError) as error:
                bad.add(name, error)
                bad.check(done)
            else:
                codes.append(coded.codes.codes_THW.numpy().astype(dtype).ravel())
                lines.append(
                    {"clip": name, "caption": record.caption, "fps": coded.fps}
                    | {key: getattr(coded.codes, key) for key in SIZES}
                    | {"grid": list(coded.codes.codes_THW.shape)}
                )
            if progress:
                progress(done, len(records))
        manifest = ClipCodesManifest(
            tokenizer_fingerprint=tokenizer.fingerprint(),
            codebook_size=tokenizer.codebook_size,
            num_clips=len(lines),
            source=records.folder.resolve().name,
            skipped=[clip.name for clip in bad.clips],
            versions=versions("torch", "av"),
        )
        np.save(partial / CODES_NAME, np.concatenate(codes))
        (partial / CLIPS_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(manifest)}, indent=2)
        (partial / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
    return manifest


class ClipCodesFolder(Sequence[CodedClip]):
    """The clips of such a folder, through a memory map."""

    def __init__(self, folder: str | Path, tokenizer_fingerprint: str | None = None) -> None:
        """Open and check a folder.

        Raises:
            ValueError: it is incomplete or altered, or made by another tokenizer than `tokenizer_fingerprint`.
        """
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        if tokenizer_fingerprint not in (None, self.manifest.tokenizer_fingerprint):
            raise ValueError(
                f"{folder} was made by tokenizer {self.manifest.tokenizer_fingerprint}, "
                f"not by {tokenizer_fingerprint}: its codes mean something else to it; give that tokenizer"
            )
        self._lines = _read_lines(self.folder / CLIPS_NAME, self.manifest.num_clips)
        self._ends = np.cumsum([math.prod(line["grid"]) for line in self._lines]).tolist()
        self._codes = _map_codes(self.folder / CODES_NAME, codes_dtype(self.manifest.codebook_size), self._ends[-1])

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> CodedClip:  # type: ignore[override] - a clip, never a slice
        line, end = self._lines[index], self._ends[index]
        codes = self._codes[end - math.prod(line["grid"]) : end].reshape(line["grid"]).astype(np.int64)
        if codes.max() >= self.manifest.codebook_size:
            raise ValueError(f"{self.folder / CODES_NAME} was altered, clip {line['clip']} is impossible: {REMEDY}")
        found = ClipCodes(codes_THW=torch.from_numpy(codes), **{key: line[key] for key in SIZES})
        return CodedClip(line["clip"], line["caption"], found, line["fps"])


def _read_manifest(folder: Path) -> ClipCodesManifest:
    path = folder / MANIFEST_NAME
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(f"it does not say {FORMAT}")
        check_version(content, VERSION, path)
        content.pop("version", None)
        return ClipCodesManifest(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is missing, damaged or of something else ({error}): give a folder that "
            "videogpt tokenize --num-frames all has made"
        ) from error


def _read_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """One or more, each complete."""
    try:
        lines = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            whole = [*line["grid"], *(line[key] for key in SIZES)]
            sound = len(line["grid"]) == 3 and all(type(value) is int and value > 0 for value in whole)
            if not (sound and isinstance(line["clip"], str) and isinstance(line["caption"], str) and line["fps"] > 0):
                raise ValueError(f"{line} is no clip")
        if len(lines) != count or not lines:
            raise ValueError(f"{len(lines)} lines for {count} clips")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}): {REMEDY}") from error
    return lines


def _map_codes(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    try:
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is missing, truncated or damaged ({error}): {REMEDY}") from error
    if codes.dtype != dtype or codes.shape != (count,):
        raise ValueError(f"{path} holds {codes.dtype} {codes.shape}, not {dtype} {(count,)}: {REMEDY}")
    return codes
