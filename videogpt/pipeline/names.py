"""A video tokenizer by name or path: `natural`, `shapes`, a tokenizer's folder, or a model's, which holds one.

    tokenizer = load_tokenizer("runs/tokenizer/pretrained", device="auto")
    tokenizer = load_any_tokenizer("ucf101_stride4x4x4.ckpt")      # those of other projects, too

A model is trained on a tokenizer of this project, which it can stream and save; clips can be coded with any.
"""

from pathlib import Path
from typing import TypeVar

import torch

from videogpt.pipeline.saved_model import SHIPPED, TOKENIZER_NAME, shipped_models
from videogpt.runs.folder import refuse_run_folder
from videogpt_tokenizer.any_tokenizer import is_imported, load_video_tokenizer
from videogpt_tokenizer.files.weights_folder import CONFIG_NAME, named_or_path, shipped_tokenizers
from videogpt_tokenizer.grid import Tokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

Loaded = TypeVar("Loaded", bound=Tokenizer)


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
    """Load a tokenizer of this project in float32; `auto` takes the GPU where there is one, else `cpu` or `cuda`.

    Raises:
        ValueError: not found, incomplete or altered, of another project, or no such device.
    """
    if _is_imported(folder_or_name):
        raise ValueError(
            f"{folder_or_name} is no tokenizer of this project: reconstruct, tokenize, inspect take some of others, "
            "but here one is wanted that streams, as videogpt fit makes them"
        )
    return _on(device, VideoTokenizer.from_pretrained(find_tokenizer(folder_or_name)))


def load_any_tokenizer(path_or_name: str | Path, device: str = "auto", *, trust_torchscript: bool = False) -> Tokenizer:
    """Load a tokenizer of this project, or what `load_video_tokenizer` knows of others.

    Raises:
        ValueError: see `load_tokenizer`; also TorchScript that is not trusted.
    """
    place = path_or_name if _is_imported(path_or_name) else find_tokenizer(path_or_name)
    return _on(device, load_video_tokenizer(place, trust_torchscript=trust_torchscript))


def _is_imported(path_or_name: str | Path) -> bool:
    shipped = str(path_or_name) in (*shipped_tokenizers(), *shipped_models())
    return not shipped and is_imported(Path(path_or_name))


def _on(device: str, tokenizer: Loaded) -> Loaded:
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return tokenizer.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} is not there: choose auto, cpu or cuda") from error
