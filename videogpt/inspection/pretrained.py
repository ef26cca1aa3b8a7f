"""Describes tokenizers and models: those of this project, exports of them, and tokenizers of other projects.

    describe_video_tokenizer(Path("runs/tiny-tokenizer/pretrained"))

Our own are loaded as for use, so that checksums, shapes and the fit of the parts are checked; what does not load is
refused. Every file of an export is held against its checksum. Nothing of other projects is run: checkpoints are read,
and TorchScript archives, which are programs, only held against the checksums in them.
"""

import zipfile
import zlib
from pathlib import Path

from torch import nn

from videogpt.inspection import Inspection
from videogpt.pipeline.exported_model import EXPORT_FORMAT as MODEL_EXPORT
from videogpt.pipeline.saved_model import load_model
from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.imported.torchscript import DECODER_NAME, ENCODER_NAME
from videogpt_tokenizer.imported.vqvae import VQVAETokenizer
from videogpt_tokenizer.imported.vqvae_checkpoint import read_vqvae_checkpoint
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def describe_video_tokenizer(path: Path) -> Inspection:
    """A folder with a video tokenizer."""
    tokenizer = VideoTokenizer.from_pretrained(path)
    side, kind = tokenizer.space_stride, tokenizer.config.quantizer.kind
    lines = [
        f"{path}: video tokenizer, {_parameters(tokenizer)}; its checksum is right",
        f"{kind}: {tokenizer.codebook_size} codes, one for {tokenizer.time_stride}x{side}x{side} pixels",
        f"fingerprint: {tokenizer.fingerprint()}",
    ]
    return Inspection(lines)


def describe_text_tokenizer(path: Path) -> Inspection:
    """A file with a text tokenizer."""
    tokenizer = TextTokenizer.from_file(path)
    lines = [f"{path}: text tokenizer, {tokenizer.vocab_size} tokens", f"fingerprint: {tokenizer.fingerprint()}"]
    return Inspection(lines)


def describe_model(path: Path) -> Inspection:
    """A folder with a language model and its two tokenizers."""
    model = load_model(path)
    layout, config = model.task.config, model.network.config
    parts = [part for part in ("head", "embedding") if getattr(config, part) == "levels"]
    frames = model.tokenizer.num_frames(layout.latent_frames)
    height, width = model.size
    lines = [
        f"{path}: model, {_parameters(model.network)}; all checksums are right, all parts fit",
        f"answers: {', '.join(name for task in model.tasks for name in task.answers)}",
        f"clips: {frames} frames of {width}x{height} pixels at {model.fps:g} a second",
        f"vocabulary: {model.text_tokenizer.vocab_size} for text, {model.tokenizer.codebook_size} for video",
        *([f"by levels {config.code_levels}: {' and '.join(parts)}"] if parts else []),
        f"fingerprint of its video tokenizer: {model.tokenizer.fingerprint()}",
    ]
    return Inspection(lines)


def describe_export(path: Path) -> Inspection:
    """A folder that `videogpt export` has written. A file that is missing or altered is a fault."""
    manifest = parse_json((path / "manifest.json").read_text(encoding="utf-8"))
    try:
        if manifest["format"] == MODEL_EXPORT:
            what, fingerprint = f"language model exported as {manifest['kind']}", manifest["model"]["tokenizer"]
        else:
            tokenizer = manifest["tokenizer"]
            what, fingerprint = f"video tokenizer exported as {manifest['kind']}", tokenizer["fingerprint"]
            what += f", {tokenizer['codebook_size']} codes"
        sums = {name: file["sha256"] for name, file in manifest["files"].items()}
        lines = [
            f"{path}: {what}",
            f"files: {', '.join(sums)}",
            f"fingerprint of its video tokenizer: {fingerprint}",
        ]
        if any(Path(name).name != name for name in sums):
            raise ValueError("it names files elsewhere")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / 'manifest.json'} is not complete ({error}): export it again") from error
    missing = [name for name in sums if not (path / name).is_file()]
    altered = [name for name, sum_ in sums.items() if name not in missing and sha256_of(path / name) != sum_]
    faults = [f"{path / name} is missing" for name in missing]
    return Inspection(lines, faults + [f"{path / name} is truncated or altered" for name in altered])


def describe_vqvae(path: Path) -> Inspection:
    """A checkpoint of VideoGPT's VQ-VAE, or a folder that it was saved into."""
    tokenizer = VQVAETokenizer.from_pretrained(path) if path.is_dir() else read_vqvae_checkpoint(path)
    config, side = tokenizer.config, tokenizer.space_stride
    lines = [
        f"{path}: video tokenizer, VideoGPT's VQ-VAE, {_parameters(tokenizer)}; nothing in it was run",
        f"{config.n_codes} codes, one for {tokenizer.time_stride}x{side}x{side} pixels; not causal, no streams",
        f"clips: {tokenizer.frames_at_once} frames; longer ones are reconstructed in windows of so many",
        f"fingerprint: {tokenizer.fingerprint()}",
    ]
    return Inspection(lines)


def describe_torchscript(path: Path) -> Inspection:
    """A TorchScript archive, or a folder with a pair of them that is a tokenizer."""
    if path.is_dir():
        archives = [line for name in (ENCODER_NAME, DECODER_NAME) for line in describe_torchscript(path / name).lines]
        first = f"{path}: video tokenizer of two programs, for --trust-torchscript if you trust them"
        return Inspection([first, *archives])
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or no TorchScript archive: copy it again") from error
    if damaged is not None or not any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(f"{path} is truncated, altered or no TorchScript archive: copy it again")
    facts = f"{len(names)} entries, {size:,} bytes, all checksums right; it was not run"
    return Inspection([f"{path}: TorchScript, {facts}"])


def _parameters(network: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters"
