"""Describes clips: video and image files, and folders of them.

    describe_clip(Path("clip.mp4"))
    describe_clip_folder(Path("my_clips"), "file_name", "caption")

Every clip is decoded to its end, small, so that long ones fit in memory. A damaged clip in a folder is a fault of the
folder; a damaged file is refused.
"""

from pathlib import Path

from videogpt.console.progress import Progress
from videogpt.inspection import Inspection
from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES, Clip
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.skipped import UnreadableClipError
from videogpt_tokenizer.files.wording import some_of

CHECKED_AT = 16
"""Pixels a side of the frames when a clip is decoded to its end."""


def describe_clip(path: Path) -> Inspection:
    """A video or an image; any other file is refused."""
    try:
        first, whole = _decode(path)
    except ValueError as error:
        if path.suffix.lower() in CLIP_SUFFIXES:
            raise
        raise ValueError(f"{path} is nothing that videogpt knows: see videogpt inspect --help") from error
    kind = "image" if len(whole) == 1 else "video"
    frames = f"frames: {len(whole)} at {whole.fps:.6g} a second, {whole.duration:.2f} s; all of them decode"
    return Inspection([f"{path}: {kind}, {first.width}x{first.height} pixels", frames])


def describe_clip_folder(path: Path, file_column: str, caption_column: str) -> Inspection:
    """A folder of clips, by the columns of its metadata if it has any."""
    records = ClipFolder(path, file_column, caption_column)
    faults, sizes, frames = [], set(), []
    with Progress("decoding", len(records), unit="clips") as progress:
        for record in records:
            try:
                first, whole = _decode(record.path)
                sizes.add(f"{first.width}x{first.height}")
                frames.append(len(whole))
            except UnreadableClipError as error:
                faults.append(str(error))
            progress.advance()
    captions = [record.caption for record in records]
    aside = [f"left aside: {len(places)} {why}: {', '.join(places)}" for why, places in records.unused.items()]
    lines = [
        f"{path}: folder of {len(records)} clips: {len(records) - len(faults)} good, {len(faults)} bad",
        f"captions: {len(set(captions))} different, {sum(not caption for caption in captions)} clips without",
    ]
    if frames:
        lines.append(f"frames: {min(frames)} to {max(frames)}; sizes: {some_of(sorted(sizes))}")
    return Inspection(lines + aside, faults)


def _decode(path: Path) -> tuple[Clip, Clip]:
    """The first frame as it is, and all frames, small."""
    return Clip.read(path, num_frames=1), Clip.read(path, size=CHECKED_AT)
