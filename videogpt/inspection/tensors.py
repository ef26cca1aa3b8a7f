"""Describes tensors: files of safetensors, and the tensors in other files.

    describe_safetensors(Path("model.safetensors"))
    text, faults = look_through(path, named_tensors)

A tensor is in memory only as long as it is looked at. A value that is missing or not finite is a fault.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videogpt.inspection.found import Inspection
from videogpt_tokenizer.files.wording import some_of


def describe_safetensors(path: Path) -> Inspection:
    """A file of safetensors."""
    try:
        with safe_open(str(path), framework="pt") as file:
            text, faults = look_through(path, ((name, file.get_tensor(name)) for name in list(file.keys())))
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated, altered or not safetensors ({error}): copy it again") from error
    return Inspection([f"{path}: safetensors, {text}"], faults)


def look_through(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> tuple[str, list[str]]:
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
