"""Describes clips as codes: token shards to train on, and codes of whole clips.

    describe_token_shards(Path("tokens/shapes-1k"))
    describe_clip_codes(Path("codes"))

Every row is read. A row that cannot be is a fault of the folder; a folder that cannot be opened is refused.
"""

from pathlib import Path

from videogpt.inspection import Inspection
from videogpt.tokens.reader import TokenShardReader
from videogpt.tokens.whole_clips import ClipCodesFolder


def describe_token_shards(path: Path) -> Inspection:
    """A folder of token shards."""
    rows = TokenShardReader(path)
    faults = []
    for row in range(len(rows)):
        try:
            rows[row]
        except ValueError as error:
            faults.append(str(error))
    shards = rows.manifest
    lines = [
        f"{path}: token shards of {shards.source}",
        f"rows: {shards.num_clips} of {'x'.join(map(str, shards.grid))} codes below {shards.codebook_size}",
        f"clips: {shards.num_frames} frames of {shards.width}x{shards.height} at {shards.fps:g} a second",
        f"captions: {len(set(rows.captions))} different; clips left out: {len(shards.skipped)}",
        f"fingerprint of its video tokenizer: {shards.tokenizer_fingerprint}",
    ]
    return Inspection(lines, faults)


def describe_clip_codes(path: Path) -> Inspection:
    """A folder with the codes of whole clips."""
    clips = ClipCodesFolder(path)
    faults, codes, frames = [], 0, []
    for index in range(len(clips)):
        try:
            clip = clips[index].codes
            codes += clip.codes_THW.numel()
            frames.append(clip.num_frames)
        except ValueError as error:
            faults.append(str(error))
    lines = [
        f"{path}: codes of {len(clips)} whole clips of {clips.manifest.source}",
        f"codes: {codes:,} below {clips.manifest.codebook_size}; clips left out: {len(clips.manifest.skipped)}",
        f"fingerprint of its video tokenizer: {clips.manifest.tokenizer_fingerprint}",
    ]
    if frames:
        lines.insert(2, f"frames: {min(frames)} to {max(frames)}")
    return Inspection(lines, faults)
