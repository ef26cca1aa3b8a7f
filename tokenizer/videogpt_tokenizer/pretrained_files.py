"""Folders of `config.json` + `model.safetensors`: written whole or not at all, read strictly.

The configuration carries the SHA-256 of the weights, so a truncated or altered file is named before it is loaded.
Nothing here unpickles.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then move it into place; a failure leaves no file behind."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        write(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_pretrained(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write weights, then the configuration with their checksum. `config` must be JSON with a `format` key."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(folder / WEIGHTS_NAME, lambda path: save_file(tensors, str(path)))
    text = json.dumps({**config, "weights_sha256": sha256_of(folder / WEIGHTS_NAME)}, indent=2) + "\n"
    write_atomically(folder / CONFIG_NAME, lambda path: path.write_text(text, encoding="utf-8"))


def read_config(folder: Path, expected_format: str) -> dict[str, Any]:
    """Read and check `config.json`.

    Raises:
        ValueError: the folder or file is missing, is not JSON, or describes something other than `expected_format`.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ValueError(f"{path} is missing: {folder} is not a complete {expected_format} folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the folder again") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != expected_format:
        raise ValueError(f"{path} describes {found!r}, not {expected_format!r}: is this the right folder?")
    return config


def read_pretrained(folder: Path, expected_format: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read configuration and weights of a folder that `write_pretrained` wrote.

    Raises:
        ValueError: see `read_config`; also when the weights are missing or differ from their checksum.
    """
    from safetensors.torch import load_file

    config = read_config(folder, expected_format)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ValueError(f"{path} is missing: {folder} is not a complete {expected_format} folder")
    if sha256_of(path) != config.pop("weights_sha256", None):
        raise ValueError(f"{path} is truncated or altered (its SHA-256 is not the one in {CONFIG_NAME}): copy it again")
    return config, load_file(str(path))
