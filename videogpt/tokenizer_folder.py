"""A video tokenizer by name or path: `natural`, `shapes`, a tokenizer's folder, or a model's, which holds one.

tokenizer = load_tokenizer("runs/tokenizer/pretrained", device="auto")
"""

from pathlib import Path

import torch

from videogpt.model_folder import SHIPPED, TOKENIZER_NAME, shipped_models
from videogpt.runs.result import refuse_run_folder
from videogpt_tokenizer.pretrained_files import CONFIG_NAME, named_or_path, shipped_tokenizers
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def find_tokenizer(folder_or_name: str | Path) -> Path:
    """The folder of a tokenizer: a shipped one's or a shipped model's by its name, the path, or the one inside of it.

    Raises:
        ValueError: there is no such name and no such folder, or it is the folder of a run.
    """
    models, tokenizers = shipped_models(), shipped_tokenizers()
    if str(folder_or_name) in tokenizers:
        return named_or_path(folder_or_name)
    folder = SHIPPED / str(folder_or_name) if str(folder_or_name) in models else Path(folder_or_name)
    if not folder.is_dir():
        known = ", ".join([*tokenizers, *models]) or "none is installed"
        raise ValueError(f"tokenizer {str(folder_or_name)!r} is neither a folder nor shipped ({known})")
    refuse_run_folder(folder)
    inside = folder / TOKENIZER_NAME
    return inside if (inside / CONFIG_NAME).is_file() else folder


def load_tokenizer(folder_or_name: str | Path, device: str = "auto") -> VideoTokenizer:
    """Load a tokenizer in float32; `auto` takes the GPU where there is one, else `cpu` or `cuda`.

    Raises:
        ValueError: not found, incomplete or altered, or no such device.
    """
    tokenizer = VideoTokenizer.from_pretrained(find_tokenizer(folder_or_name))
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return tokenizer.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} is not there: choose auto, cpu or cuda") from error
