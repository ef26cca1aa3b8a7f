"""Tokenizers of other projects: what is this file or folder, and is it sound? For `inspection`.

    lines = describe_vqvae(Path("ucf101_stride4x4x4.ckpt"))
    lines = describe_torchscript(Path("Cosmos-Tokenizer-DV4x8x8"))

Checkpoints are read, with nothing in them run; TorchScript archives, which are programs, are only looked at from
outside: whether they are whole, by the checksums in them. ValueError names what is damaged.
"""

import zipfile
import zlib
from pathlib import Path

from videogpt_tokenizer.imported.torchscript import DECODER_NAME, ENCODER_NAME
from videogpt_tokenizer.imported.vqvae import VQVAETokenizer
from videogpt_tokenizer.imported.vqvae_checkpoint import read_vqvae_checkpoint


def describe_vqvae(path: Path) -> list[str]:
    """A checkpoint of VideoGPT's VQ-VAE, or a folder that it was saved into; a line for each thing to say."""
    tokenizer = VQVAETokenizer.from_pretrained(path) if path.is_dir() else read_vqvae_checkpoint(path)
    config, side = tokenizer.config, tokenizer.space_stride
    parameters = sum(parameter.numel() for parameter in tokenizer.parameters())
    return [
        f"{path}: video tokenizer, VideoGPT's VQ-VAE, {parameters:,} parameters; nothing in it was run",
        f"{config.n_codes} codes, one for {tokenizer.time_stride}x{side}x{side} pixels; not causal, no streams",
        f"clips: {tokenizer.clip_frames} frames; longer ones are reconstructed in windows of so many",
        f"fingerprint: {tokenizer.fingerprint()}",
    ]


def describe_torchscript(path: Path) -> list[str]:
    """A TorchScript archive, or a folder with a pair of them that is a tokenizer; a line for each thing to say."""
    if path.is_dir():
        archives = [line for name in (ENCODER_NAME, DECODER_NAME) for line in describe_torchscript(path / name)]
        return [f"{path}: video tokenizer of two programs, for --trust-torchscript if you trust them", *archives]
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is truncated or no TorchScript archive: copy it again") from error
    if damaged is not None or not any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(f"{path} is truncated, altered or no TorchScript archive: copy it again")
    return [f"{path}: TorchScript, {len(names)} entries, {size:,} bytes, all checksums right; it was not run"]
