"""Folders of `config.json` + `model.safetensors`: each file written whole or not at all, read strictly.

The configuration carries the SHA-256 of the weights, so a truncated or altered file is named before it is loaded.
Nothing here unpickles.
"""

import dataclasses
import json
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.files.json_files import check_version, parse_json
from videogpt_tokenizer.files.replacing import replacement_of, write_whole
from videogpt_tokenizer.files.wording import some_of

_ONE_THREAD = threading.RLock()  # the default type is that of the whole process

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CHECKSUM = "weights_sha256"
EXPORTED = "this is an export for other programs; give the tokenizer that it was made of"
ANOTHER_VERSION = "copy the folder again, or use the version that wrote it"

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)


def write_pretrained(folder: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write weights, then the configuration with their checksum. `config` must be JSON with `format` and `version`."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacement_of(folder / WEIGHTS_NAME) as partial:
        _save_tensors(weights, partial)
    text = json.dumps({**config, CHECKSUM: sha256_of(folder / WEIGHTS_NAME)}, indent=2) + "\n"
    write_whole(folder / CONFIG_NAME, text)


def read_config(folder: Path, expected_format: str, keys: Collection[str], newest: int) -> dict[str, Any]:
    """Read and check `config.json`, in which `keys` may be besides format, version and the checksum of the weights.

    ValueError: the folder or file is missing, is not JSON, describes something other than `expected_format`, is of a
    version after `newest`, or has a key that nothing is known of.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        is_export = (folder / "manifest.json").is_file()
        raise ValueError(f"{path} is missing: {EXPORTED if is_export else _incomplete(folder, expected_format)}")
    try:
        config = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): copy the folder again") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != expected_format:
        what = "nothing that is known here" if found is None else repr(found)
        remedy = EXPORTED if str(found).endswith("-reduced") else "give another folder"
        raise ValueError(f"{path} describes {what}, and {expected_format!r} is wanted: {remedy}")
    check_version(config, newest, path)
    _refuse_unknown(config, {"format", "version", CHECKSUM, *keys}, path)
    return config


def build_config(kind: type[Config], config: dict[str, Any], key: str, folder: Path) -> Config:
    """The dataclass that a part of `config.json` was written from; ValueError where it can be no such one."""
    path, part = folder / CONFIG_NAME, config.get(key)
    if not isinstance(part, dict):
        raise ValueError(f"{path}: {key} is {'missing' if part is None else 'no object'}: {ANOTHER_VERSION}")
    assert dataclasses.is_dataclass(kind)
    _refuse_unknown(part, {field.name for field in dataclasses.fields(kind)}, path, f"{key}.")
    try:
        return kind(**part)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {key} is wrong ({error}): {ANOTHER_VERSION}") from error


def _refuse_unknown(found: dict[str, Any], known: set[str], path: Path, prefix: str = "") -> None:
    unknown = ", ".join(prefix + key for key in found if key not in known)
    if unknown:
        raise ValueError(f"{path}: {unknown} is not known: {ANOTHER_VERSION}")


def read_pretrained(
    folder: Path, expected_format: str, keys: Collection[str], newest: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a folder that `write_pretrained` wrote.

    ValueError as of `read_config`; also where the weights are missing or differ from their checksum.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder, expected_format, keys, newest)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise ValueError(f"{path} is missing: {_incomplete(folder, expected_format)}")
    if sha256_of(path) != config.pop(CHECKSUM, None):
        raise ValueError(f"{path} is truncated or altered (its SHA-256 is not the one in {CONFIG_NAME}): copy it again")
    try:
        return config, load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is not safetensors, the only form that is read ({error}): copy it again") from error


def with_weights(make: Callable[[], Module], weights: Mapping[str, Tensor], source: str) -> Module:
    """The module with these weights, in evaluation mode; see `check_tensors`, which is asked before memory is taken."""
    with float32_by_default():
        with torch.device("meta"):
            wanted = make().state_dict()
        check_tensors(weights, wanted, source)
        module = make()
    module.load_state_dict(weights, strict=True)
    return module.eval()


@contextmanager
def float32_by_default() -> Iterator[None]:
    """What is made in here is float32, whatever `torch.set_default_dtype` has been told."""
    with _ONE_THREAD:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Hold tensors against those that a configuration asks for, which may lie on `meta` and so take no memory.

    ValueError, which calls the file and its configuration `source`, where a tensor is missing, unknown, misshapen, of
    another kind or not finite; the first are named.
    """
    faults = {"missing": wanted.keys() - found.keys(), "not known": found.keys() - wanted.keys()}
    parts = [f"{some_of(sorted(names))} is {what}" for what, names in faults.items() if names]
    for name in sorted(wanted.keys() & found.keys()):
        here, due = found[name], wanted[name]
        if here.shape != due.shape or here.is_floating_point() != due.is_floating_point() or here.is_complex():
            kinds = (f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}" for tensor in (here, due))
            parts.append("{} is {} where {} is wanted".format(name, *kinds))
            break
        if here.is_floating_point() and not bool(here.isfinite().all()):
            parts.append(f"{name} holds values that are not finite")
            break
    if parts:
        raise ValueError(f"{source} does not fit its configuration: {'; '.join(parts)}: copy both again")


def _incomplete(folder: Path, expected_format: str) -> str:
    return f"{folder} is not a complete {expected_format} folder"


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, str(path))
        mask = os.umask(0o077)  # which can be asked for only by setting it
        os.umask(mask)
        path.chmod(0o666 & ~mask)  # safetensors writes for the owner's eyes alone
    except SafetensorError as error:  # what the system says reaches us as this, without its number
        number = re.search(r"os error (\d+)", str(error))
        cause = OSError(int(number[1]), os.strerror(int(number[1]))) if number else error
        raise OSError(f"{path} cannot be written ({error}): free some space or choose another place") from cause
