"""Whole clips of any length and picture size -> a folder of their codes, and back to clips.

    write_clip_codes("clips", tokenizer, "codes")
    for clip in ClipCodesFolder("codes", tokenizer.fingerprint()):
        Clip.write_pieces("clip.mp4", clip.decoded(tokenizer))

`codes.npy` holds the codes of one clip after the other, each in the order of time, height and width. A line of
`clips.jsonl` has the grid of a clip's codes, and the frames, size and rate that it has without padding. Clips pass
through in pieces, so memory grows with the codes alone. For tokenizers that stream. To train a model, all rows must be
alike: write token shards, see `writer`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videogpt.tokens.shards import (
    CODES_NAME,
    CodesManifest,
    are_counts,
    checked_codes,
    made_from,
    map_codes,
    read_lines,
    smallest_type,
    usable_clips,
)
from videogpt_tokenizer.any_size import ClipCodes, decode_pieces, encode_pieces, within_memory
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord
from videogpt_tokenizer.clips.read import check_request
from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE, SkippedClips
from videogpt_tokenizer.files.output import whole_folder
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# C colours, T frames (latent ones where codes are meant), H/W height and width

_SIZES = ("num_frames", "height", "width")


class CodedClip(NamedTuple):
    """One clip of a folder."""

    name: str
    """Its place in the folder of clips."""
    caption: str
    codes: ClipCodes
    fps: float

    def decoded(self, tokenizer: VideoTokenizer) -> Iterator[Clip]:
        """The clip in pieces; ValueError if the codes do not fit its size, or the tokenizer."""
        for video_CTHW in decode_pieces(tokenizer, self.codes):
            yield Clip.from_video(video_CTHW, self.fps)


def write_clip_codes(
    source: ClipFolder | str | Path,
    tokenizer: VideoTokenizer,
    output: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    fps: float | None = None,
    max_bad_share: float = MAX_BAD_SHARE,
    progress: Callable[[int, int], None] | None = None,
    left_out: Callable[[str], None] | None = None,
) -> CodesManifest:
    """Write the codes of all clips of a folder, each at its full length.

    Takes and refuses what `writer.tokenize_clips` does; but without a size, or a rate, every clip keeps its own.
    """
    check_request(fps, size)
    records = source if isinstance(source, ClipFolder) else ClipFolder(source)
    bad = SkippedClips(len(records), max_bad_share)
    dtype = smallest_type(tokenizer.codebook_size)
    tokenizer, codes, lines = tokenizer.eval(), [], []

    def encode(record: ClipRecord) -> tuple[ClipCodes, float]:
        read = Clip.read_pieces(record.path, tokenizer.frames_at_once, size=size, fps=fps)
        pieces = within_memory(read, record.path, lambda *size: tokenizer.memory_of(*size, back=False))
        first = next(pieces)
        videos = (piece.video_CTHW() for piece in chain([first], pieces))
        return encode_pieces(tokenizer, videos), first.fps

    with whole_folder(Path(output)) as partial:
        for record, (clip, its_fps) in usable_clips(records, encode, bad, progress, left_out):
            codes.append(clip.codes_THW.numpy().astype(dtype).ravel())
            line = {"clip": records.name_of(record), "caption": record.caption, "fps": its_fps}
            lines.append(line | {key: getattr(clip, key) for key in _SIZES} | {"grid": list(clip.codes_THW.shape)})
        manifest = CodesManifest(**made_from(tokenizer, records, bad), num_clips=len(lines))
        np.save(partial / CODES_NAME, np.concatenate(codes))
        manifest.write(partial, lines)
    return manifest


class ClipCodesFolder(Sequence[CodedClip]):
    """The clips of such a folder, through a memory map."""

    def __init__(self, folder: str | Path, tokenizer_fingerprint: str | None = None) -> None:
        """ValueError: it is incomplete or altered, or made by another tokenizer than `tokenizer_fingerprint`."""
        self.folder = Path(folder)
        self.manifest = CodesManifest.read(self.folder, tokenizer_fingerprint)
        self._lines = read_lines(self.folder, self.manifest, _is_sound)
        self._ends = np.cumsum([math.prod(line["grid"]) for line in self._lines]).tolist()
        self._codes = map_codes(self.folder, self.manifest, self._ends[-1:])

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> CodedClip:  # type: ignore[override] - a clip, never a slice
        line, end = self._lines[index], self._ends[index]
        codes_THW = self._codes[end - math.prod(line["grid"]) : end].reshape(line["grid"])
        codes_THW = checked_codes(codes_THW, self.folder, self.manifest, f"clip {line['clip']}")
        codes = ClipCodes(codes_THW=codes_THW, **{key: line[key] for key in _SIZES})
        return CodedClip(line["clip"], line["caption"], codes, line["fps"])


def _is_sound(line: dict[str, Any]) -> bool:
    """Whether grid, sizes and rate of a clip can be."""
    return len(line["grid"]) == 3 and are_counts(*line["grid"], *(line[key] for key in _SIZES)) and line["fps"] > 0
