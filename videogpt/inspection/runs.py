"""Describes training runs: their folders, and checkpoints of Lightning and of PyTorch.

    describe_run(Path("runs/tiny"), describe_result)
    describe_checkpoint(Path("runs/tiny/checkpoints/last.ckpt"))

Tensors are read and looked through; a value that is missing or not finite is a fault. Nothing is unpickled: a
checkpoint that needs it is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from videogpt.inspection.found import Inspection
from videogpt.inspection.tensors import look_through
from videogpt.runs.folder import PRETRAINED, find_last
from videogpt.runs.resume import read_checkpoint


def describe_run(path: Path, describe_result: Callable[[Path], Inspection]) -> Inspection:
    """A run's folder: its newest checkpoint, and what it has made, described by `describe_result`."""
    last, result = find_last(path), path / PRETRAINED
    trained = describe_checkpoint(last) if last else Inspection(["no checkpoint yet"])
    made = Inspection([f"nothing made yet: {result} is written while fit goes on"])
    if result.is_dir():
        made = describe_result(result)
    return Inspection([f"{path}: folder of a run", *trained.lines, *made.lines], [*trained.faults, *made.faults])


def describe_checkpoint(path: Path) -> Inspection:
    """A checkpoint of a run, or another file of PyTorch's with tensors."""
    checkpoint = read_checkpoint(path)
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, dict):
        raise ValueError(f"{path} has a {type(weights).__name__} in place of a state_dict: copy it again")
    tensors = ((str(name), value) for name, value in weights.items() if hasattr(value, "isfinite"))
    text, faults = look_through(path, tensors)
    if "state_dict" not in checkpoint:
        return Inspection([f"{path}: PyTorch file, {text}"], faults)
    settings = checkpoint.get("hyper_parameters")
    trained = _trained(settings if isinstance(settings, dict) else {})
    steps, epoch = checkpoint.get("global_step", 0), checkpoint.get("epoch", 0)
    optimizer = "with" if checkpoint.get("optimizer_states") else "without"
    lines = [
        f"{path}: checkpoint of {trained}, {steps} steps, epoch {epoch}",
        f"weights: {text}; {optimizer} the state of the optimizer",
    ]
    return Inspection(lines, faults)


def _trained(settings: dict[str, Any]) -> str:
    """What a checkpoint is of, by the settings in it."""
    if {"model", "text"} <= settings.keys():
        return f"a model in training (its video tokenizer: {settings.get('tokenizer')})"
    if "tokenizer" in settings:
        return "a video tokenizer in training"
    return settings.get("_class_path", "something unnamed")
