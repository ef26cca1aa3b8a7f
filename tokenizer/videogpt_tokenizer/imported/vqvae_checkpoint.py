"""Lightning checkpoints of VideoGPT's VQ-VAE -> `VQVAETokenizer`, with nothing in them run.

    tokenizer = read_vqvae_checkpoint("ucf101_stride4x4x4")
    tokenizer.save_pretrained("vqvae")          # from then on without a pickle

Such a checkpoint is a pickle that names Python objects besides its tensors: the `argparse.Namespace` of the settings,
and a few of Lightning's. torch.load(weights_only=True) reads it with the Namespace allowed and with an empty stand-in
for what is Lightning's, which is neither imported nor called. A file that names anything else is refused unread.
"""

import argparse
import dataclasses
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from videogpt_tokenizer.files.weights_folder import with_weights
from videogpt_tokenizer.imported.vqvae import VQVAEConfig, VQVAETokenizer

NAMESPACE = "argparse.Namespace"
LIGHTNING = ("pytorch_lightning.", "lightning.pytorch.")
NEVER_LOADED = "never loaded, since they could run code"
LARGEST_PICKLE = 2**24
"""Bytes of a checkpoint without its tensors; the published ones have some thousands."""
TELLING = {"codebook.embeddings", "pre_vq_conv.conv.weight"}
TRAINING_ONLY = {"codebook.N", "codebook.z_avg"}
"""Moving averages of the codebook: state of its training, of no use here."""


class _StandIn:
    """What stands where a checkpoint names an object of Lightning's; whatever it is called with, it does nothing."""

    def __init__(self, *_: object) -> None:
        pass


def read_vqvae_checkpoint(path: str | Path) -> VQVAETokenizer:
    """Read a checkpoint of VideoGPT's VQ-VAE; the result is in evaluation mode, in float32.

    ValueError where the file is truncated, of another kind, names Python objects that are not allowed, or its settings
    or tensors are not those of such a network.
    """
    checkpoint = _read(Path(path))
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise ValueError(f"{path} has no state_dict of tensors: give a checkpoint of VideoGPT's VQ-VAE")
    hollow = sorted(name for name, tensor in weights.items() if not _has_all_its_values(tensor))
    if hollow:
        raise ValueError(f"{path} has tensors that are larger than what it holds of them ({hollow[0]}): copy it again")
    if not weights.keys() >= TELLING:
        lacking = ", ".join(sorted(TELLING - weights.keys()))
        raise ValueError(f"{path} is no checkpoint of VideoGPT's VQ-VAE: {lacking} is missing")
    config = _config(checkpoint.get("hyper_parameters"), path)
    used = {name: tensor for name, tensor in weights.items() if name not in TRAINING_ONLY}
    return with_weights(lambda: VQVAETokenizer(config), used, str(path))


def is_vqvae_checkpoint(path: Path) -> bool:
    """Whether the file is a readable checkpoint with such a network's tensors."""
    try:
        weights = _read(path).get("state_dict")
    except ValueError:
        return False
    return isinstance(weights, dict) and weights.keys() >= TELLING


def _has_all_its_values(tensor: Tensor) -> bool:
    """Whether it is dense and takes as much in the file as it will in memory."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _check_archive(path: Path) -> None:
    """Refuse what could take much more memory than the file has bytes, before any of it is unpacked."""
    with _one_line(path), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        too_large = packed or any(entry.file_size > LARGEST_PICKLE for entry in pickles)
        allocates = not too_large and any(b"bytearray" in archive.read(entry) for entry in pickles)
    if too_large or allocates:
        raise ValueError(f"{path} is not as torch.save writes it, and could unpack to any size: it is not read")


def _read(path: Path) -> dict[str, Any]:
    path.open("rb").close()  # what the system refuses is no damage
    _check_archive(path)
    with _one_line(path):
        named = get_unsafe_globals_in_checkpoint(str(path))
    refused = sorted(name for name in named if name != NAMESPACE and not name.startswith(LIGHTNING))
    if refused:
        raise ValueError(f"{path} names Python objects that are {NEVER_LOADED} ({', '.join(refused[:3])})")
    stand_ins = [(_StandIn, name) for name in named if name != NAMESPACE]
    with _one_line(path), safe_globals([argparse.Namespace, *stand_ins]):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Whatever a damaged or a hostile pickle fails with becomes a ValueError that says so."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} holds Python objects that are {NEVER_LOADED}") from error
    except Exception as error:
        raise ValueError(f"{path} is truncated or no checkpoint: copy it again") from error


def _config(settings: Any, path: str | Path) -> VQVAEConfig:
    """The network's settings, wherever the version of Lightning that wrote them has put them."""
    if isinstance(settings, dict) and "args" in settings:
        settings = settings["args"]
    settings = vars(settings) if isinstance(settings, argparse.Namespace) else settings
    if not isinstance(settings, dict):
        raise ValueError(f"{path} has no hyper_parameters: they say how far the network compresses")
    names = [field.name for field in dataclasses.fields(VQVAEConfig)]
    missing = [name for name in names if name not in settings]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} is missing in hyper_parameters")
    try:
        return VQVAEConfig(**{name: settings[name] for name in names})
    except ValueError as error:
        raise ValueError(f"{path}: hyper_parameters are wrong: {error}") from error
