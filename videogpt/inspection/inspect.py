"""What is this file or folder, and is it sound?

    found = inspect_path(Path("runs/tiny"))
    print("\\n".join(found.lines)); found.faults

Files and folders are recognised by content, not by name. `_FILES` and `_FOLDERS` say how, and which describer reads the
thing to its end and holds it against its checksums and declared sizes. A new format is one describer and one line here.
Nothing is unpickled or run. Raises ValueError for what is damaged as a whole or not recognised.
"""

from collections.abc import Callable
from pathlib import Path

from videogpt.inspection import Inspection
from videogpt.inspection.clips import describe_clip, describe_clip_folder
from videogpt.inspection.codes import describe_clip_codes, describe_token_shards
from videogpt.inspection.documents import SUFFIXES, describe_document
from videogpt.inspection.pretrained import (
    describe_export,
    describe_model,
    describe_text_tokenizer,
    describe_torchscript,
    describe_video_tokenizer,
    describe_vqvae,
)
from videogpt.inspection.runs import describe_checkpoint, describe_run, describe_safetensors
from videogpt.runs.folder import is_run_folder
from videogpt_tokenizer.clips.tar_shards import TAR_SUFFIX, is_file_or_member
from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.files.tables import TABLE_SUFFIXES
from videogpt_tokenizer.imported.torchscript import is_torchscript_pair
from videogpt_tokenizer.imported.vqvae_checkpoint import is_vqvae_checkpoint

Describe = Callable[[Path], Inspection]


def inspect_path(path: Path, file_column: str = "file_name", caption_column: str = "caption") -> Inspection:
    """Look at a file or folder; the columns are those of the metadata of a folder of clips.

    ValueError: missing, not recognised, or damaged as a whole. OSError: it cannot be read.
    """
    if not path.exists():
        if is_file_or_member(path):  # of a tar file
            return describe_clip(path)
        raise ValueError(f"{path}: there is no such file or folder")
    for is_one, describe in _FOLDERS if path.is_dir() else _FILES:
        if is_one(path):
            return describe(path)
    return describe_clip_folder(path, file_column, caption_column) if path.is_dir() else describe_clip(path)


def _by_manifest(path: Path) -> Inspection:
    place = path / "manifest.json"
    try:
        manifest = parse_json(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{place} is not valid JSON ({error}): make or copy the folder again") from error
    kind = manifest.get("format") if isinstance(manifest, dict) else None
    return _MANIFESTS.get(str(kind), describe_token_shards)(path)  # whose reader says what is wrong with another kind


def _by_config(path: Path) -> Inspection:
    place = path / "config.json"
    try:
        describe = _CONFIGS[parse_json(place.read_text(encoding="utf-8"))["format"]]
    except (ValueError, KeyError, TypeError) as error:
        known = ", ".join(_CONFIGS)
        raise ValueError(f"{place} is damaged, or of something unknown: known are {known}") from error
    return describe(path)


def _refuse_part(path: Path) -> Inspection:
    kind = "tar file" if path.suffix == TAR_SUFFIX else "table"
    raise ValueError(f"{path} is a {kind}: if it is of clips, inspect the folder that it lies in")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _is_safetensors(path: Path) -> bool:
    return _head(path)[8:10] == b'{"' or path.suffix == ".safetensors"


def _is_checkpoint(path: Path) -> bool:
    return path.suffix in (".ckpt", ".pt", ".pth") or _head(path)[:2] in (b"PK", b"\x80\x02", b"\x80\x04")


# The first that recognises a path describes it. What none recognises is a clip, or a folder of clips.
_FILES: tuple[tuple[Callable[[Path], bool], Describe], ...] = (
    (_is_safetensors, describe_safetensors),
    (lambda file: file.suffix == ".jit", describe_torchscript),
    (lambda file: _is_checkpoint(file) and is_vqvae_checkpoint(file), describe_vqvae),
    (_is_checkpoint, describe_checkpoint),
    (lambda file: file.suffix == ".model", describe_text_tokenizer),
    (lambda file: file.suffix in SUFFIXES, describe_document),
    (lambda file: file.suffix in (*TABLE_SUFFIXES, TAR_SUFFIX), _refuse_part),
)
_FOLDERS: tuple[tuple[Callable[[Path], bool], Describe], ...] = (
    (lambda folder: (folder / "manifest.json").is_file(), _by_manifest),
    (is_run_folder, lambda folder: describe_run(folder, _by_config)),
    (is_torchscript_pair, describe_torchscript),
    (lambda folder: (folder / "config.json").is_file(), _by_config),
)
_MANIFESTS: dict[str, Describe] = {  # by the format that manifest.json states
    "videogpt-tokenizer-export": describe_export,
    "videogpt-model-export": describe_export,
    "videogpt-clip-codes": describe_clip_codes,
    "videogpt-token-shards": describe_token_shards,
}
_CONFIGS: dict[str, Describe] = {  # by the format that config.json states
    "videogpt-tokenizer": describe_video_tokenizer,
    "videogpt-model": describe_model,
    "videogpt-vqvae": describe_vqvae,
}
