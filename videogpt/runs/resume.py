"""Which checkpoint a command starts from, and how the settings stored with it differ from the user's.

    checkpoint, reason = choose_start(Path("runs/tiny"), resume="auto", ckpt_path=None)
    settings = read_checkpoint(checkpoint)["hyper_parameters"]
    differences(configured, settings, "model.")

A run is neither begun afresh nor overwritten in silence: choosing refuses what is not clear, and gives its reason in
a line for the user. Checkpoints are read with `weights_only=True`, always: a file from a stranger cannot run code.
"""

import pickle
import re
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from videogpt.runs.folder import CONFIG, LAST, find_last
from videogpt.runs.former_names import rename_classes

Resume = Literal["auto", "must", "never"]

_GIVE = "give a .ckpt file that fit has written"
_LIGHTNING = "pytorch-lightning_version"  # in every checkpoint of a training
_SHARDED = "meta.pt"  # where a checkpoint is a folder, because every process has written its part of it


def choose_start(root: Path | None, resume: Resume, ckpt_path: str | None) -> tuple[Path | None, str]:
    """Where `fit` begins in the run's folder `root`: a checkpoint, None for a new run, and the reason.

    `resume` is `auto` to resume where there is a checkpoint, `must` to insist on one, `never` to insist on a new run.
    `ckpt_path` is a file, or `last` for the newest of the run's folder (as `must`).
    """
    if root is None:
        raise ValueError("trainer.default_root_dir is not set: name the run's folder, for example runs/my-run")
    last = find_last(root)
    others = sorted((root / LAST.parent).glob("*.ckpt"))
    if resume == "never" and (last or others):
        raise ValueError(
            f"{root} holds a run already ({last or others[0]}) and resume is never: give another "
            "trainer.default_root_dir, move that run away, or continue it with --resume auto"
        )
    if ckpt_path is not None and ckpt_path != "last":
        given = _existing(ckpt_path)
        ignored = f"; {last} is not used and will be replaced" if last and given.resolve() != last.resolve() else ""
        return given, f"starting from {given}{ignored}"
    if last is not None:
        return last, f"resuming {last}"
    if resume == "must" or ckpt_path == "last":
        raise ValueError(f"there is nothing to resume: {root / LAST} does not exist (a first run needs --resume auto)")
    if others:
        raise ValueError(f"{others[0]} is there but no {LAST.name}: choose one to go on from with --ckpt_path")
    return None, f"starting a new run in {root} (no {LAST} there to resume)"


def choose_weights(root: Path | None, ckpt_path: str | None) -> tuple[Path, str]:
    """Which checkpoint `validate` and `test` take, and the reason: the one given, else the run's newest.

    ValueError where there is neither: figures of random weights say nothing.
    """
    if ckpt_path is not None and ckpt_path != "last":
        return _existing(ckpt_path), f"using {ckpt_path}"
    last = find_last(root) if root is not None else None
    if last is None:
        missing = f"{root / LAST} does not exist" if root else "trainer.default_root_dir is not set"
        raise ValueError(f"there are no trained weights ({missing}): give a checkpoint with --ckpt_path FILE")
    return last, f"using {last}"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors (mapped, not read) and settings of a checkpoint; nothing in it is executed.

    ValueError: truncated, no checkpoint, or it holds objects that only unpickling could restore.
    """
    file = path / _SHARDED if path.is_dir() else path
    with file.open("rb") as opened:  # what the system refuses is no damage
        begin = opened.read(4096)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever torch makes of bytes that are not its own
        if not begin.startswith((b"PK", b"\x80")):
            raise ValueError(f"{path} is no checkpoint{_kind_of(begin)}: {_GIVE}") from error
        if isinstance(error, pickle.UnpicklingError):
            raise ValueError(
                f"{path} is no checkpoint, or holds Python objects, which are never loaded: they could run code"
            ) from error
        raise ValueError(f"{path} is truncated or not a checkpoint: copy it again, or use an earlier one") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint: {_GIVE}")
    return checkpoint


def read_training(path: Path) -> dict[str, Any]:
    """The same of a checkpoint that a training can go on from; ValueError also where it is of something else."""
    stored = read_checkpoint(path)
    if not path.is_dir() and not (isinstance(stored.get("state_dict"), dict) and _LIGHTNING in stored):
        raise ValueError(f"{path} holds weights or settings, and not the checkpoint of a training: {_GIVE}")
    for key, kind in (("global_step", int), ("hyper_parameters", dict)):
        if not isinstance(stored.get(key, kind()), kind):
            raise ValueError(f"{path} is damaged ({key} is {stored[key]!r}): use an earlier one")
    return stored


def fails_to_restore(error: BaseException) -> bool:
    """Whether the error was raised while Lightning took up a checkpoint."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(
        frame.filename.endswith("checkpoint_connector.py") and re.match("_?(resume|restore)", frame.name)
        for frame in frames
    )


def check_kind(path: Path, stored: Mapping[str, Any], settings: Mapping[str, Any], model: str, *, fits: bool) -> None:
    """ValueError unless the checkpoint is of the kind of training that has these settings, and can be gone on with."""
    theirs, ours = stored.get("hyper_parameters", {}).keys(), settings.keys()
    if theirs - ours and ours - theirs:
        alien = ", ".join(sorted(map(str, theirs - ours)))
        raise ValueError(
            f"{path} is of another kind of training (one with the settings {alien}): give one of {model}, or another "
            "trainer.default_root_dir"
        )
    if fits and not path.is_dir() and not {"optimizer_states", "lr_schedulers"} <= stored.keys():
        raise ValueError(f"{path} holds weights without the optimizer's state, so no fit can go on from it: {_GIVE}")


def stored_data(root: Path) -> dict[str, Any]:
    """Settings of the data in the run's `config.yaml`; none where that file is missing or holds none."""
    path = root / CONFIG
    try:
        config = yaml.safe_load(rename_classes(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, yaml.YAMLError, RecursionError):
        config = None
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, dict) else {}


def differences(configured: dict[str, Any], stored: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for every setting that is not the checkpoint's; keys of only one side are left out."""
    lines = []
    for key in configured.keys() & stored.keys():
        name, now, then = f"{prefix}{key}", _listed(configured[key]), _listed(stored[key])
        if isinstance(now, dict) and isinstance(then, dict):
            lines += differences(now, then, f"{name}.")
        elif now != then:
            lines.append(f"{name} is {now!r}, the checkpoint was trained with {then!r}")
    return sorted(lines)


def check_writable(root: Path) -> None:
    """OSError where the run's folder cannot be written; asked before the first step, which may be long in coming."""
    there = next(place for place in (root, *root.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        reason = "it is a file" if there == root and root.is_file() else f"{there}: {error.strerror}"
        raise OSError(f"cannot write trainer.default_root_dir {root} ({reason}): name another folder") from error


def _existing(path: str) -> Path:
    """The path, if there is a checkpoint: a file, or a folder where it was saved in shards."""
    if not Path(path).exists():
        raise ValueError(f"checkpoint {path} does not exist: give the path of a .ckpt file, or last")
    if Path(path).is_dir() and not (Path(path) / _SHARDED).is_file():
        own = Path(path) / LAST
        remedy = f"give {own}" if own.exists() else "give the path of a .ckpt file, or last"
        raise ValueError(f"checkpoint {path} is a folder that holds none: {remedy}")
    return Path(path)


def _kind_of(begin: bytes) -> str:
    """What a file is that begins so, as far as that can be seen."""
    if begin[8:9] == b"{":
        return " but safetensors, which hold weights alone"
    if not begin:
        return " but empty"
    try:
        begin[:-4].decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if min(begin) < ord("\t") else " but text"


def _listed(value: Any) -> Any:
    """Tuples as lists: in YAML they are the same thing."""
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
