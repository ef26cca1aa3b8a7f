"""Describes tokenizers of other projects: checkpoints of VideoGPT's VQ-VAE, and TorchScript archives.

    describe_vqvae(Path("ucf101_stride4x4x4.ckpt"))
    describe_torchscript(Path("Cosmos-Tokenizer-DV4x8x8"))

Checkpoints are read, and nothing in them is run. TorchScript archives are programs: they are only held against the
checksums in them. What is damaged is refused.
"""

import zipfile
import zlib
from pathlib import Path

from videogpt.inspection.found import Inspection, count_parameters
from videogpt_tokenizer.imported.torchscript import DECODER_NAME, ENCODER_NAME
from videogpt_tokenizer.imported.vqvae import VQVAETokenizer
from videogpt_tokenizer.imported.vqvae_checkpoint import read_vqvae_checkpoint


def describe_vqvae(path: Path) -> Inspection:
    """A checkpoint of VideoGPT's VQ-VAE, or a folder that it was saved into."""
    tokenizer = VQVAETokenizer.from_pretrained(path) if path.is_dir() else read_vqvae_checkpoint(path)
    config, side = tokenizer.config, tokenizer.space_stride
    parameters = count_parameters(tokenizer)
    return Inspection(
        [
            f"{path}: video tokenizer, VideoGPT's VQ-VAE, {parameters} parameters; nothing in it was run",
            f"{config.n_codes} codes, one for {tokenizer.time_stride}x{side}x{side} pixels; not causal, no streams",
            f"clips: {tokenizer.frames_at_once} frames; longer ones are reconstructed in windows of so many",
            f"fingerprint: {tokenizer.fingerprint()}",
        ]
    )


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
    text = f"{path}: TorchScript, {len(names)} entries, {size:,} bytes, all checksums right; it was not run"
    return Inspection([text])
