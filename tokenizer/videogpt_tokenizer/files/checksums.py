"""SHA-256 of files, which tells what was truncated or altered, and of models, which tells what is the same model."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint_of(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over settings and weights, whatever order they come in."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        tensor = tensor.float() if tensor.is_floating_point() else tensor  # as it is saved
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
