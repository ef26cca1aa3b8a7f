"""Describes training runs: their folders, checkpoints of Lightning and of PyTorch, and files of safetensors.

    describe_run(Path("runs/tiny"), describe_result)
    describe_checkpoint(Path("runs/tiny/checkpoints/last.ckpt"))

Tensors are looked through one by one; a value that is missing or not finite is a fault. Nothing is unpickled: a
checkpoint that needs it is refused.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videogpt.inspection import Inspection
from videogpt.runs.folder import PRETRAINED, find_last
from videogpt.runs.resume import read_checkpoint
from videogpt_tokenizer.files.wording import some_of


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
    text, faults = _look_through(path, tensors)
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


def describe_safetensors(path: Path) -> Inspection:
    """A file of safetensors."""
    try:
        with safe_open(str(path), framework="pt") as file:
            text, faults = _look_through(path, ((name, file.get_tensor(name)) for name in list(file.keys())))
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated, altered or not safetensors ({error}): copy it again") from error
    return Inspection([f"{path}: safetensors, {text}"], faults)


def _trained(settings: dict[str, Any]) -> str:
    """What a checkpoint is of, by the settings in it."""
    if {"model", "text"} <= settings.keys():
        return f"a model in training (its video tokenizer: {settings.get('tokenizer')})"
    if "tokenizer" in settings:
        return "a video tokenizer in training"
    return settings.get("_class_path", "something unnamed")


def _look_through(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> tuple[str, list[str]]:
    """How many tensors and values there are, in words, and the faults."""
    count, values, types, not_finite = 0, 0, set(), []
    for name, tensor in tensors:
        count, values = count + 1, values + tensor.numel()
        types.add(str(tensor.dtype).removeprefix("torch."))
        if not _is_finite(tensor):
            not_finite.append(name)
    text = f"{count} tensors with {values:,} values ({', '.join(sorted(types))})"
    faults = [f"{path}: not all values are there and finite in {some_of(not_finite)}"] if not_finite else []
    return text, faults


def _is_finite(tensor: Tensor) -> bool:
    """Whether every value is there and finite; sparse tensors and those without storage are not looked into."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return False
    if not tensor.is_floating_point():
        return True
    return bool((tensor.float() if tensor.element_size() == 1 else tensor).isfinite().all())
