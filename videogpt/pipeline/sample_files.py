"""Files of samples: a video, a JSON with all it takes to make it again, contact sheets; never overwritten.

    writer = SampleWriter("outputs", about=pipeline.describe())       # before sampling: it checks the folder
    for sample in pipeline.samples(["a red circle moves left"], seed=3):
        writer.write(sample)            # outputs/0001-a-red-circle-moves-left-s3.mp4 and a .json beside it
    writer.write_contact_sheet()        # outputs/0002-contact-sheet.png

Numbers go on from what the folder holds, also when two processes write into it at once. A prompt, or where there is
none the film or picture that is given, lends a file at most 40 characters of [a-z0-9-]; it can never choose where the
file goes. A full disk or an interrupt
leaves no half file under a final name.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt.pipeline.request import Frames, Request, Sample
from videogpt.sampling.config import SamplingConfig
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.write import GrowingMovie
from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.files.numbered import next_number, slug
from videogpt_tokenizer.files.output import writing_to
from videogpt_tokenizer.files.replacing import write_whole

# T frames, H/W height and width, C colours

_FORMATS = ("mp4", "gif", "webp")
_COLUMNS, _ROWS, _GAP = 9, 32, 2  # of contact sheets; the gap in pixels


def contact_sheet(clips: Sequence[Clip]) -> Tensor:
    """One picture, uint8 HWC, with a row of up to 9 evenly spaced frames for each clip (one or more)."""
    return _stack([_stack(list(_spread_frames(clip)), dim=1) for clip in clips], dim=0)


class SampleWriter:
    """Writes samples into one folder, each as soon as it is there."""

    def __init__(self, folder: str | Path, *, file_format: str = "mp4", about: Mapping[str, Any] | None = None) -> None:
        """Make the folder if need be and check that it can be written, so that no sampling is done in vain.

        `file_format` is mp4, gif or webp. `about`, such as `Pipeline.describe()`, goes into every sample's JSON beside
        its own data. ValueError: the format is unknown. OSError: the folder cannot be made or written.
        """
        if file_format not in _FORMATS:
            raise ValueError(f"format {file_format!r} is not known: choose {', '.join(_FORMATS)}")
        self.folder = Path(folder)
        self.file_format = file_format
        self.about = dict(about or {})
        self._shown: list[Clip] = []
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with next_number(self.folder):
                pass

    def missing(self, requests: Sequence[Request], sampling: SamplingConfig) -> list[Request]:
        """Those of which the folder has no clip yet, drawn exactly by this model with these settings.

        As often as a request is asked for it is to be there. A clip of another format, from other frames, or drawn by a
        lane or engine that is not exact, is another clip; what is no whole record of a sample is passed over.
        """
        found = Counter(filter(None, map(self._asked_in, self.folder.glob("*.json"))))
        left = []
        for request in requests:
            key = _key(request_record(request), dataclasses.asdict(sampling), self.about.get("model"))
            if found[key]:
                found[key] -= 1
            else:
                left.append(request)
        return left

    def _asked_in(self, path: Path) -> str | None:
        """The key of a record whose clip is there."""
        try:
            record = parse_json(path.read_text(encoding="utf-8"))
            clip = self.folder / Path(record["file"]).name
            counts = clip.is_file() and clip.suffix == f".{self.file_format}" and record["decoding"]["exact"]
            return _key(record["request"], record["sampling"], record["model"]) if counts else None
        except (ValueError, KeyError, TypeError, OSError):
            return None

    @contextmanager
    def growing(self, request: Request, first: Clip) -> Iterator[GrowingMovie]:
        """The video of a request, which can be played while frames are written to it, beginning with these.

        `finish` writes its record, once it is whole. An error leaves nothing of it.
        """
        with writing_to(self.folder), next_number(self.folder) as number:
            path = self._place(number, request)
            with GrowingMovie(path, (first.height, first.width), first.fps) as movie:
                movie.write(first.frames_THWC)
                yield movie

    def write(self, sample: Sample) -> Path:
        """Write NNNN-slug-sSEED.mp4 (or .gif, .webp) and the .json beside it; return the video's path.

        OSError: the disk is full or the folder has become unwritable; nothing of the sample remains.
        """
        with writing_to(self.folder), next_number(self.folder) as number:
            path = self._place(number, sample.request)
            sample.clip.write(path)
            self.finish(sample, path)
        return path

    def finish(self, sample: Sample, path: Path) -> None:
        """Write the .json beside a video, and show it on the contact sheet. Where that fails, the video goes."""
        text = json.dumps(self._record(sample, path), indent=2, ensure_ascii=False) + "\n"
        try:
            write_whole(path.with_suffix(".json"), text.encode("utf-8", "backslashreplace"))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if len(self._shown) < _ROWS:
            self._shown.append(Clip(_spread_frames(sample.clip), sample.clip.fps))

    def _place(self, number: str, request: Request) -> Path:
        files = [Path(x).stem for x in (request.image, request.video) if isinstance(x, str | Path)]
        name = slug(request.text or "".join(files))
        return self.folder / f"{number}-{name}-s{request.seed}.{self.file_format}"

    def write_contact_sheet(self) -> Path | None:
        """Write one picture of the first 32 samples since the last sheet; return its path, or None without samples."""
        if not self._shown:
            return None
        with writing_to(self.folder), next_number(self.folder) as number:
            path = self.folder / f"{number}-contact-sheet.png"
            Clip(contact_sheet(self._shown)[None], fps=1.0).write(path)
        self._shown.clear()
        return path

    def _record(self, sample: Sample, path: Path) -> dict[str, Any]:
        return {
            "task": sample.request.task,
            "prompt": sample.request.text,
            "seed": sample.request.seed,
            "given_frames": sample.given_frames,
            "request": request_record(sample.request),
            "file": path.name,
            "num_frames": len(sample.clip),
            "height": sample.clip.height,
            "width": sample.clip.width,
            "fps": sample.clip.fps,
            "sampling": dataclasses.asdict(sample.sampling),
            "decoding": {
                "lane": sample.lane,
                "engine": sample.engine,
                "exact": sample.exact,
                "passes": sample.passes,
                "codes": sample.codes,
            },
            "timings": {
                "batch_seconds": round(sample.batch_seconds, 3),
                "samples_in_batch": sample.samples_in_batch,
            },
            **self.about,
        }


def request_record(request: Request) -> dict[str, Any]:
    """What was asked for, in JSON types; of a file its place and the SHA-256 of what it holds."""
    record: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        record[field.name] = _frames_record(value) if field.name in ("image", "video", "mask") and value else value
    return record


def _frames_record(frames: Frames) -> dict[str, Any]:
    if isinstance(frames, Clip):
        return {"sha256": hashlib.sha256(frames.frames_THWC.contiguous().cpu().numpy().tobytes()).hexdigest()}
    try:
        return {"file": str(frames), "sha256": sha256_of(Path(frames))}
    except OSError:  # who reads it says so
        return {"file": str(frames), "sha256": None}


def _key(request: Any, sampling: Any, model: Any) -> str:
    return json.dumps([request, sampling, model], sort_keys=True)


def _spread_frames(clip: Clip) -> Tensor:
    """Up to 9 evenly spaced frames of a clip, the first and the last among them, THWC."""
    columns = min(_COLUMNS, len(clip))
    return clip.frames_THWC[torch.linspace(0, len(clip) - 1, columns).round().long()]


def _stack(pictures: list[Tensor], *, dim: int) -> Tensor:
    """HWC pictures below (0) or beside (1) each other on white, with gaps; smaller ones are filled up."""
    longest = max(picture.shape[1 - dim] for picture in pictures)
    parts = []
    for picture in pictures:
        missing = longest - picture.shape[1 - dim]
        below, right = (_GAP, missing) if dim == 0 else (missing, _GAP)
        parts.append(F.pad(picture, (0, 0, 0, right, 0, below), value=255))
    return torch.cat(parts, dim=dim).narrow(dim, 0, sum(part.shape[dim] for part in parts) - _GAP)
