"""The clips found in a folder without a table, and the captions that lie beside them or inside of tar files.

    records = find_records(Listing(Path("my_clips")), caption_column="caption")

Used through `ClipFolder`, whose account says what is left aside.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES
from videogpt_tokenizer.clips.tar_shards import COMPRESSED_TARS, TAR_SUFFIX, open_member, shard_members
from videogpt_tokenizer.files.listing import Listing, in_order, stem_of, suffix_of
from videogpt_tokenizer.files.tables import TABLE_SUFFIXES, json_of, utf8_text
from videogpt_tokenizer.files.wording import some_of

TEXT_SUFFIXES = (".txt", ".json")
MOST_FAULTS = 10
TABLES = tuple(f"metadata{suffix}" for suffix in TABLE_SUFFIXES)


@dataclass(frozen=True)
class ClipRecord:
    path: Path
    """Of a file, or through a tar file: `shards/0001.tar/000017.mp4`."""
    caption: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The clip's row of the table by column, or what the JSON beside it says; empty where there is none."""


def find_records(listing: Listing, caption_column: str) -> list[ClipRecord]:
    """Every clip of a known suffix, in order; what else is there is left aside in the listing."""
    of_suffix = {place: suffix_of(place) for place in listing.files}
    clips = listing.without_second_names([place for place in listing.files if of_suffix[place] in CLIP_SUFFIXES])
    shards = listing.without_second_names([place for place in listing.files if of_suffix[place] == TAR_SUFFIX])
    loose = [place for place in listing.files if of_suffix[place] not in (*CLIP_SUFFIXES, TAR_SUFFIX)]
    class_of = {place: _name_of(_above(place)) for place in clips}  # the folder that each lies in
    unpacked: dict[tuple[str, int], list[str]] = {}
    for place in clips if shards else ():
        unpacked.setdefault((_name_of(place), (listing.folder / place).stat().st_size), []).append(place)
    for shard in shards:
        sizes = _members(listing, shard)
        for place in _one_a_sample(listing, [place for place in sizes if suffix_of(place) in CLIP_SUFFIXES]):
            alike = unpacked.get((_name_of(place), sizes[place]), ())
            if any(_are_equal(listing.folder / place, listing.folder / other) for other in alike):
                listing.leave("clip of a tar file that lies beside it unpacked", place)
            else:
                class_of[place] = _name_of(_above(place)) if _above(place) != shard else ""
        loose += [place for place in sizes if suffix_of(place) not in CLIP_SUFFIXES]
    texts = {(stem_of(place), suffix_of(place)): place for place in loose}
    records, used, faults = [], set[str](), []
    for place in sorted(class_of, key=in_order):
        beside = [texts[key] for suffix in TEXT_SUFFIXES if (key := (stem_of(place), suffix)) in texts]
        used.update(beside)
        try:
            caption, fields = _caption_of(listing, beside, caption_column)
        except ValueError as error:
            faults.append(str(error))
            continue
        if caption is None:
            caption = class_of[place].replace("_", " ").replace("-", " ")
        records.append(ClipRecord(listing.folder / place, caption, fields))
    if faults:  # all at once, as they are to be mended one by one
        raise ValueError(some_of(faults, MOST_FAULTS, "; "))
    for place in loose:
        if place not in used:
            listing.leave(why_not(place), place)
    return records


def checked_caption(caption: Any, where: str, column: str) -> str:
    """ValueError unless it is text that can be written as UTF-8."""
    if not isinstance(caption, str):
        raise ValueError(f"{where}: {column} is {caption!r}; give text, which may be empty")
    if any("\ud800" <= letter <= "\udfff" for letter in caption):
        raise ValueError(f"{where}: {column} is {caption[:99]!r}, with half a letter of two; write it anew as UTF-8")
    return caption


def stems_of(places: Iterable[str]) -> set[str]:
    """Places without their suffixes, of clips alone."""
    return {stem_of(place) for place in places if suffix_of(place) in CLIP_SUFFIXES}


def why_not(place: str) -> str:
    """Why no clip is made of a file that is neither one nor a caption of one."""
    if suffix_of(place) == ".txt":
        return "caption without a clip"
    if _name_of(place).lower() in TABLES:
        return f"table, to be named {_name_of(place).lower()}"
    return "compressed tar, to be unpacked" if place.lower().endswith(COMPRESSED_TARS) else "other suffix"


def _members(listing: Listing, shard: str) -> dict[str, int]:
    """Places of the files in a tar file, with their sizes; none where none is a clip."""
    try:
        found = shard_members(listing.folder / shard)
    except ValueError as error:
        listing.leave(f"tar file that {str(error).partition(': ')[2]}", shard)
        return {}
    sizes = {name: size for name, (_, size) in found.places.items() if not any(map(_is_hidden, name.split("/")))}
    if not stems_of(sizes):
        listing.leave("tar file without clips", shard)
        return {}
    listing.count += len(sizes) + len(found.unsafe) - 1
    if found.unsafe:
        listing.leave("link or unsafe name in a tar file", *(f"{shard}/{name}" for name in found.unsafe))
    return {f"{shard}/{name}": size for name, size in sizes.items()}


def _one_a_sample(listing: Listing, clips: list[str]) -> list[str]:
    """Of `7.mp4`, `7.jpg` and `7.thumb.png` the first by suffix: to WebDataset they are parts of one sample."""
    first: dict[str, str] = {}
    for place in sorted(clips, key=lambda place: CLIP_SUFFIXES.index(suffix_of(place))):
        first.setdefault(stem_of(place), place)
    parts = {place for place in clips if first[stem_of(place)] != place or _shorter(stem_of(place)) & first.keys()}
    if parts:
        listing.leave("further picture of a sample", *sorted(parts))
    return [place for place in first.values() if place not in parts]


def _shorter(stem: str) -> set[str]:
    """`a/7.thumb.png` -> `a/7.thumb` and `a/7`."""
    above, slash, name = stem.rpartition("/")
    pieces = name.split(".")
    return {above + slash + ".".join(pieces[:count]) for count in range(1, len(pieces))}


def _caption_of(listing: Listing, texts: list[str], caption_column: str) -> tuple[str | None, Mapping[str, Any]]:
    """What the texts beside a clip say: its caption, of which plain text comes first, and its fields."""
    caption, fields = None, {}
    for place in texts:
        path = listing.folder / place
        with open_member(path) or path.open("rb") as file:
            text = utf8_text(file.read(), path)
        if suffix_of(place) == ".txt":
            caption = text.rstrip("\r\n")
            continue
        content = json_of(text, path)
        if not isinstance(content, dict):
            listing.leave("JSON that is no object", place)
            continue
        fields = content
        if caption is None and caption_column in fields:
            caption = checked_caption(fields[caption_column], str(path), caption_column)
    return caption, fields


def _are_equal(member: Path, file: Path) -> bool:
    """Whether a member of a tar file and a file of the same size hold the same bytes."""
    inside = open_member(member)
    assert inside is not None
    with inside, file.open("rb") as outside:
        while block := inside.read(1 << 20):
            if block != outside.read(1 << 20):
                return False
    return True


def _name_of(place: str) -> str:
    return place.rpartition("/")[2]


def _above(place: str) -> str:
    return place.rpartition("/")[0]


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
