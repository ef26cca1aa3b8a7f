"""Where figures and files come from: the machine, the versions, the commit.

hardware()                    # {"cpu": ..., "cores": 2, "threads": 2, "gpus": []}
versions("torch", "av")       # {"torch": "2.13.0", "av": "17.1.0"}
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def hardware() -> dict[str, Any]:
    """Processor, cores, threads and GPUs."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def versions(*names: str) -> dict[str, str]:
    """Versions of Python and of distributions, in this order, without those that are not installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = platform.python_version() if name == "python" else version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, str]:
    """The commit of this project, nothing where it is no checkout or git is not there."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed, perhaps inside another project's checkout
        return {}
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    except OSError:
        return {}
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
