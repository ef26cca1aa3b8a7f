"""Models, video tokenizers and devices by name: `shapes`, `natural`, a folder; a model stands for its tokenizer, too.

    folder = find_model("shapes")
    tokenizer = load_tokenizer("runs/tokenizer/pretrained", device="auto")
    tokenizer = load_any_tokenizer("ucf101_stride4x4x4.ckpt")      # those of other projects, too

A model is trained on a tokenizer of this project, which it can stream and save; clips can be coded with any. The folder
of a run is refused, and what the run has made is named.
"""

from pathlib import Path

import torch

from videogpt.runs.folder import refuse_run_folder
from videogpt_tokenizer.any_tokenizer import is_imported, load_video_tokenizer
from videogpt_tokenizer.files.names import find_folder, shipped_in
from videogpt_tokenizer.files.weights_folder import CONFIG_NAME
from videogpt_tokenizer.grid import Tokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer, shipped_tokenizers

TOKENIZER_NAME = "tokenizer"
"""The folder of the video tokenizer inside a model's."""


def shipped_models() -> dict[str, Path]:
    """The models inside this package: their folders by name."""
    return shipped_in(Path(__file__).parents[1] / "pretrained")


def shipped() -> dict[str, Path]:
    """All that is shipped, tokenizers and models: folders by name."""
    return shipped_tokenizers() | shipped_models()


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a model. Raises ValueError where there is none, or that of a run."""
    folder = find_folder(name_or_path, "model", shipped_models())
    refuse_run_folder(folder)
    return folder


def find_tokenizer(name_or_path: str | Path) -> Path:
    """The folder of a tokenizer, which may be inside of a model's. Raises ValueError as `find_model`."""
    folder = find_folder(name_or_path, "tokenizer", shipped())
    refuse_run_folder(folder)
    inside = folder / TOKENIZER_NAME
    return inside if (inside / CONFIG_NAME).is_file() else folder


def is_model(name_or_path: str | Path) -> bool:
    """Whether this is a model, in which a tokenizer is found. Raises ValueError as `find_tokenizer`."""
    return find_tokenizer(name_or_path) != find_folder(name_or_path, "tokenizer", shipped())


def load_tokenizer(name_or_path: str | Path, device: str = "auto") -> VideoTokenizer:
    """Load a tokenizer of this project in float32; see `find_device`.

    ValueError: not found, incomplete or altered, of another project, or no such device.
    """
    if _is_imported(name_or_path):
        raise ValueError(
            f"{name_or_path} is no tokenizer of this project: reconstruct, tokenize, inspect take some of others, "
            "but here one is wanted that streams, as videogpt fit makes them"
        )
    return VideoTokenizer.from_pretrained(find_tokenizer(name_or_path)).to(find_device(device))


def load_any_tokenizer(name_or_path: str | Path, device: str = "auto", *, trust_torchscript: bool = False) -> Tokenizer:
    """Load a tokenizer of this project, or what `load_video_tokenizer` knows of others; refuses what these do."""
    place = name_or_path if _is_imported(name_or_path) else find_tokenizer(name_or_path)
    return load_video_tokenizer(place, trust_torchscript=trust_torchscript).to(find_device(device))


def find_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one; else `cpu`, `cuda`, `cuda:1` and so on. Raises ValueError for others."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is not known: choose auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is not supported: choose auto, cpu or cuda")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ValueError(f"device {name!r} is not there (GPUs found: {found}): choose cpu or auto")
    return device


def _is_imported(name_or_path: str | Path) -> bool:
    return str(name_or_path) not in shipped() and is_imported(Path(name_or_path))
