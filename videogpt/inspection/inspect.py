"""What is this file or folder, and is it sound?

    found = inspect_path(Path("runs/tiny"))
    print("\\n".join(found.lines)); found.faults

Recognised by content, not by name: video and image files, folders of clips, video tokenizers, those of other projects
included, text tokenizers, token shards, codes of whole clips, exports, models, run folders, Lightning checkpoints,
safetensors, and the reports, records and configurations of `documents`. Everything is read to the end and held against
its checksums and declared sizes. Nothing is unpickled or run. Raises ValueError for what is damaged as a whole or not
recognised.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from videogpt.inspection.documents import SUFFIXES, describe_document
from videogpt.inspection.imported import describe_torchscript, describe_vqvae
from videogpt.runs.folder import PRETRAINED, find_last, is_run_folder
from videogpt.runs.resume import read_checkpoint
from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.imported.torchscript import is_torchscript_pair
from videogpt_tokenizer.imported.vqvae_checkpoint import is_vqvae_checkpoint

CHECKED_AT = 16
"""Pixels a side of the frames when a clip is decoded to its end, so that long ones fit in memory."""


class Inspection(NamedTuple):
    """What was found."""

    lines: list[str]
    """What it is."""
    faults: list[str]
    """What is wrong with parts of it; empty if it is sound."""


def inspect_path(path: Path, file_column: str = "file_name", caption_column: str = "caption") -> Inspection:
    """Look at a file or folder.

    Args:
        path: The file or folder.
        file_column: Column with the clips' places in the metadata of a folder of clips.
        caption_column: Column with their captions.

    Raises:
        ValueError: missing, not recognised, or damaged as a whole; the message says which and what to do.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return _file(path)
    if (path / "manifest.json").is_file():
        return _manifest_folder(path)
    if is_run_folder(path):
        return _run(path)
    if is_torchscript_pair(path):
        return Inspection(describe_torchscript(path), [])
    if (path / "config.json").is_file():
        return _pretrained(path)
    return _clip_folder(path, file_column, caption_column)


def _file(path: Path) -> Inspection:
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix == ".safetensors" or head[8:10] == b'{"':
        return _safetensors(path)
    if path.suffix == ".jit":
        return Inspection(describe_torchscript(path), [])
    if path.suffix in (".ckpt", ".pt", ".pth") or head[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        return _checkpoint(path)
    if path.suffix == ".model":
        return _text_tokenizer(path)
    if path.suffix in SUFFIXES:
        return Inspection(describe_document(path), [])
    if path.suffix == ".csv" or path.suffix == ".jsonl":
        raise ValueError(f"{path} is a table: if it is the metadata of clips, inspect their folder")
    return _clip(path)


def _clip(path: Path) -> Inspection:
    from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES, Clip

    try:
        first, whole = Clip.read(path, num_frames=1), Clip.read(path, size=CHECKED_AT)
    except ValueError as error:
        if path.suffix.lower() in CLIP_SUFFIXES:
            raise
        raise ValueError(f"{path} is nothing that videogpt knows: see videogpt inspect --help") from error
    kind = "image" if len(whole) == 1 else "video"
    lines = [
        f"{path}: {kind}, {first.width}x{first.height} pixels",
        f"frames: {len(whole)} at {whole.fps:.6g} a second, {whole.duration:.2f} s; all of them decode",
    ]
    return Inspection(lines, [])


def _clip_folder(path: Path, file_column: str, caption_column: str) -> Inspection:
    from videogpt.console.progress import Progress
    from videogpt_tokenizer.clips.clip import Clip
    from videogpt_tokenizer.clips.folder import ClipFolder

    records = ClipFolder(path, file_column, caption_column)
    faults, sizes, frames = [], set(), []
    with Progress("decoding", len(records), unit="clips") as progress:
        for record in records:
            try:
                first, whole = Clip.read(record.path, num_frames=1), Clip.read(record.path, size=CHECKED_AT)
                sizes.add(f"{first.width}x{first.height}")
                frames.append(len(whole))
            except (ValueError, OSError) as error:
                faults.append(str(error))
            progress.advance()
    captions = [record.caption for record in records]
    lines = [
        f"{path}: folder of {len(records)} clips: {len(records) - len(faults)} good, {len(faults)} bad",
        f"captions: {len(set(captions))} different, {sum(not caption for caption in captions)} clips without",
    ]
    if frames:
        lines.append(f"frames: {min(frames)} to {max(frames)}; sizes: {_some(sorted(sizes))}")
    return Inspection(lines, faults)


def _pretrained(path: Path) -> Inspection:
    kinds: dict[str, Callable[[Path], Inspection]] = {
        "videogpt-tokenizer": _tokenizer,
        "videogpt-model": _model,
        "videogpt-vqvae": lambda folder: Inspection(describe_vqvae(folder), []),
    }
    try:
        kind = parse_json((path / "config.json").read_text(encoding="utf-8"))["format"]
        inspect = kinds[kind]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path / 'config.json'} is damaged, or of something unknown: known are {', '.join(kinds)}"
        ) from error
    return inspect(path)


def _tokenizer(path: Path) -> Inspection:
    from videogpt_tokenizer.video_tokenizer import VideoTokenizer

    tokenizer = VideoTokenizer.from_pretrained(path)
    side, kind = tokenizer.space_stride, tokenizer.config.quantizer.kind
    lines = [
        f"{path}: video tokenizer, {_count(tokenizer)} parameters; its checksum is right",
        f"{kind}: {tokenizer.codebook_size} codes, one for {tokenizer.time_stride}x{side}x{side} pixels",
        f"fingerprint: {tokenizer.fingerprint()}",
    ]
    return Inspection(lines, [])


def _model(path: Path) -> Inspection:
    from videogpt.pipeline.saved_model import load_model

    model = load_model(path)
    layout = model.task.config
    frames = model.tokenizer.num_frames(layout.latent_frames)
    width, height = (n * model.tokenizer.space_stride for n in (layout.latent_width, layout.latent_height))
    lines = [
        f"{path}: model, {_count(model.network)} parameters; all checksums are right, all parts fit",
        f"clips: {frames} frames of {width}x{height} pixels at {model.fps:g} a second",
        f"vocabulary: {model.text_tokenizer.vocab_size} for text, {model.tokenizer.codebook_size} for video",
        f"fingerprint of its video tokenizer: {model.tokenizer.fingerprint()}",
    ]
    return Inspection(lines, [])


def _text_tokenizer(path: Path) -> Inspection:
    from videogpt_tokenizer.text_tokenizer import TextTokenizer

    tokenizer = TextTokenizer.from_file(path)
    return Inspection(
        [f"{path}: text tokenizer, {tokenizer.vocab_size} tokens", f"fingerprint: {tokenizer.fingerprint()}"],
        [],
    )


def _token_shards(path: Path) -> Inspection:
    from videogpt.tokens.reader import TokenShardReader

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


def _manifest_folder(path: Path) -> Inspection:
    kinds = {"videogpt-tokenizer-export": _export, "videogpt-clip-codes": _clip_codes}
    try:
        contents = parse_json((path / "manifest.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path / 'manifest.json'} is not valid JSON ({error}): make or copy the folder again"
        ) from error
    kind = contents.get("format") if isinstance(contents, dict) else None
    return kinds.get(str(kind), _token_shards)(path)  # whose reader says what is wrong with another kind


def _clip_codes(path: Path) -> Inspection:
    from videogpt.tokens.whole_clips import ClipCodesFolder

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


def _export(path: Path) -> Inspection:
    from videogpt_tokenizer.files.checksums import sha256_of

    manifest = parse_json((path / "manifest.json").read_text(encoding="utf-8"))
    try:
        tokenizer, sums = manifest["tokenizer"], {name: file["sha256"] for name, file in manifest["files"].items()}
        lines = [
            f"{path}: video tokenizer exported as {manifest['kind']}, {tokenizer['codebook_size']} codes",
            f"files: {', '.join(sums)}",
            f"fingerprint of its video tokenizer: {tokenizer['fingerprint']}",
        ]
        if any(Path(name).name != name for name in sums):
            raise ValueError("it names files elsewhere")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / 'manifest.json'} is not complete ({error}): export the tokenizer again") from error
    faults = [f"{path / name} is missing" for name in sums if not (path / name).is_file()]
    altered = (name for name, sum_ in sums.items() if (path / name).is_file() and sha256_of(path / name) != sum_)
    return Inspection(lines, faults + [f"{path / name} is truncated or altered" for name in altered])


def _run(path: Path) -> Inspection:
    last, result = find_last(path), path / PRETRAINED
    no_result = Inspection([f"nothing made yet: {result} is written while fit goes on"], [])
    trained = Inspection(["no checkpoint yet"], []) if last is None else _checkpoint(last)
    made = _pretrained(result) if result.is_dir() else no_result
    return Inspection([f"{path}: folder of a run", *trained.lines, *made.lines], [*trained.faults, *made.faults])


def _checkpoint(path: Path) -> Inspection:
    if path.is_file() and is_vqvae_checkpoint(path):
        return Inspection(describe_vqvae(path), [])
    checkpoint = read_checkpoint(path)
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, dict):
        raise ValueError(f"{path} has a {type(weights).__name__} in place of a state_dict: copy it again")
    tensors = _look_at((str(name), value) for name, value in weights.items() if hasattr(value, "isfinite"))
    faults = tensors.faults(path)
    if "state_dict" not in checkpoint:
        return Inspection([f"{path}: PyTorch file, {tensors.text}"], faults)
    settings = checkpoint.get("hyper_parameters")
    trained = _trained(settings if isinstance(settings, dict) else {})
    steps, epoch = checkpoint.get("global_step", 0), checkpoint.get("epoch", 0)
    optimizer = "with" if checkpoint.get("optimizer_states") else "without"
    lines = [
        f"{path}: checkpoint of {trained}, {steps} steps, epoch {epoch}",
        f"weights: {tensors.text}; {optimizer} the state of the optimizer",
    ]
    return Inspection(lines, faults)


def _trained(settings: dict[str, Any]) -> str:
    """What a checkpoint is of, by the settings in it."""
    if {"model", "text"} <= settings.keys():
        return f"a model in training (its video tokenizer: {settings.get('tokenizer')})"
    if "tokenizer" in settings:
        return "a video tokenizer in training"
    return settings.get("_class_path", "something unnamed")


def _safetensors(path: Path) -> Inspection:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            tensors = _look_at((name, file.get_tensor(name)) for name in names)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated, altered or not safetensors ({error}): copy it again") from error
    return Inspection([f"{path}: safetensors, {tensors.text}"], tensors.faults(path))


class _Tensors(NamedTuple):
    """A look at tensors, each in memory only as long as it is looked at."""

    text: str
    not_finite: list[str]

    def faults(self, path: Path) -> list[str]:
        return [f"{path}: not all values are there and finite in {_some(self.not_finite)}"] if self.not_finite else []


def _look_at(named: Iterable[tuple[str, Any]]) -> _Tensors:
    count, values, types, not_finite = 0, 0, set(), []
    for name, tensor in named:
        count, values = count + 1, values + tensor.numel()
        types.add(str(tensor.dtype).removeprefix("torch."))
        if not _is_finite(tensor):
            not_finite.append(name)
    return _Tensors(f"{count} tensors with {values:,} values ({', '.join(sorted(types))})", not_finite)


def _is_finite(tensor: Any) -> bool:
    """Whether every value is there and finite; sparse tensors and those without storage are not looked into."""
    if str(tensor.layout) != "torch.strided" or tensor.device.type == "meta":
        return False
    if not tensor.is_floating_point():
        return True
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())


def _count(module: Any) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
