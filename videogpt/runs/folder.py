"""A run's folder, and which checkpoint in it a command starts from: nothing is begun afresh in silence.

    runs/NAME/config.yaml                the configuration of the latest fit, once it has trained a step
    runs/NAME/checkpoints/last.ckpt      what a further fit goes on from
    runs/NAME/pretrained/                what the run is for, written at every validation and at the end
    runs/NAME/events.out.tfevents.*      TensorBoard

    start = choose_start(Path("runs/tiny"), resume="auto", ckpt_path=None)
    print(start.reason); checkpoint = read_checkpoint(start.checkpoint)

Checkpoints are read with `weights_only=True`, always: a file from a stranger cannot run code.
"""

import pickle
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from videogpt.runs.former_names import current

Resume = Literal["auto", "must", "never"]

LAST = Path("checkpoints") / "last.ckpt"
CONFIG = "config.yaml"
PRETRAINED = "pretrained"
SHARDED = "meta.pt"
"""In the folder that a checkpoint is when every process has written its part of it."""


class Start(NamedTuple):
    """Where a fit begins."""

    checkpoint: Path | None
    """None: at the beginning."""
    reason: str
    """One line for the user."""


def find_last(root: Path) -> Path | None:
    """The newest checkpoint to go on from: the run's own, or the one written when SLURM requeues a job."""
    found = [path for path in (root / LAST, *root.glob("hpc_ckpt_*.ckpt")) if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def choose_start(root: Path, resume: Resume, ckpt_path: str | None) -> Start:
    """Where `fit` begins, given `--resume` and `--ckpt_path`.

    Args:
        root: the run's folder.
        resume: `auto` goes on where there is something to go on from, `must` insists on it, `never` insists
            on a new run.
        ckpt_path: a file, or `last` for the newest of the run's folder (as `resume=must`).

    Raises:
        ValueError: nothing to resume though it must; something though it must never; `ckpt_path` is no
            checkpoint.
        OSError: `root` cannot be written.
    """
    _check_writable(root)
    last = find_last(root)
    others = sorted((root / LAST.parent).glob("*.ckpt"))
    if resume == "never" and (last or others):
        raise ValueError(
            f"{root} holds a run already ({last or others[0]}) and resume is never: give another "
            "trainer.default_root_dir, move that run away, or continue it with --resume auto"
        )
    if ckpt_path is not None and ckpt_path != "last":
        given = checkpoint_file(ckpt_path)
        ignored = f"; {last} is not used and will be replaced" if last and given.resolve() != last.resolve() else ""
        return Start(given, f"starting from {given}{ignored}")
    if last is not None:
        return Start(last, f"resuming {last}")
    if resume == "must" or ckpt_path == "last":
        raise ValueError(f"there is nothing to resume: {root / LAST} does not exist (a first run needs --resume auto)")
    if others:
        raise ValueError(f"{others[0]} is there but no {LAST.name}: choose one to go on from with --ckpt_path")
    return Start(None, f"starting a new run in {root} (no {LAST} there to resume)")


def _check_writable(root: Path) -> None:
    """Said before the first step, which may be long in coming. Leaves nothing behind."""
    there = next(place for place in (root, *root.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        reason = "it is a file" if there == root and root.is_file() else f"{there}: {error.strerror}"
        raise OSError(f"cannot write trainer.default_root_dir {root} ({reason}): name another folder") from error


def choose_weights(root: Path | None, ckpt_path: str | None) -> Start:
    """Which checkpoint `validate` and `test` take: the one given, else the run's newest.

    Raises:
        ValueError: `ckpt_path` is no checkpoint; there is neither, and figures of random weights say nothing.
    """
    if ckpt_path is not None and ckpt_path != "last":
        return Start(checkpoint_file(ckpt_path), f"using {ckpt_path}")
    last = find_last(root) if root is not None else None
    if last is None:
        missing = f"{root / LAST} does not exist" if root else "trainer.default_root_dir is not set"
        raise ValueError(f"there are no trained weights ({missing}): give a checkpoint with --ckpt_path FILE")
    return Start(last, f"using {last}")


def checkpoint_file(path: str | Path) -> Path:
    """The path, if there is a checkpoint (a file, or a folder where it was saved in shards)."""
    if not Path(path).exists():
        raise ValueError(f"checkpoint {path} does not exist: give the path of a .ckpt file, or last")
    if Path(path).is_dir() and not (Path(path) / SHARDED).is_file():
        raise ValueError(f"checkpoint {path} is a folder that holds none: give the path of a .ckpt file, or last")
    return Path(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors (mapped, not read) and settings of a checkpoint; nothing in it is executed.

    Raises:
        ValueError: truncated, no checkpoint, or it holds objects that only unpickling could restore.
    """
    import torch

    file = path / SHARDED if path.is_dir() else path
    file.open("rb").close()  # what the system refuses is no damage
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is no checkpoint, or holds Python objects, which are never loaded: they could run code"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is truncated or not a checkpoint: copy it again, or use an earlier one") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def stored_data(root: Path) -> dict[str, Any]:
    """Settings of the data in the run's `config.yaml`, none if there is no such file (any more)."""
    path = root / CONFIG
    config = yaml.safe_load(current(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    return config.get("data") or {}


def differences(configured: dict[str, Any], stored: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for every setting that is not the checkpoint's; keys of only one side are left out."""
    lines = []
    for key in configured.keys() & stored.keys():
        name, now, then = f"{prefix}{key}", _plain(configured[key]), _plain(stored[key])
        if isinstance(now, dict) and isinstance(then, dict):
            lines += differences(now, then, f"{name}.")
        elif now != then:
            lines.append(f"{name} is {now!r}, the checkpoint was trained with {then!r}")
    return sorted(lines)


def _plain(value: Any) -> Any:
    """Tuples and lists are the same thing in YAML."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
