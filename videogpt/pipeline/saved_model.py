"""Model folders: everything that turns a prompt into frames, on disk, whole and checked.

    model = load_model("path/to/folder")               # or load_model("shapes"), a model inside this package
    save_model("another/folder", model, dtype="float16")

    config.json          tasks, layout, network, sampling defaults, frame rate, hashes of the rest
    model.safetensors    the network's weights
    text.model           the text tokenizer (SentencePiece)
    tokenizer/           the video tokenizer (config.json and model.safetensors)

A folder that lacks a file, or holds an altered one or one of another model, is refused and the file is named.
Nothing here unpickles.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Task, find_task
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.names import TOKENIZER_NAME, find_model
from videogpt.sampling.config import SamplingConfig
from videogpt_tokenizer.files.replacing import replacement_of
from videogpt_tokenizer.files.weights_folder import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    build_config,
    check_tensors,
    float32_by_default,
    read_config,
    read_pretrained,
    write_pretrained,
)
from videogpt_tokenizer.files.wording import some_of
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

FORMAT, VERSION = "videogpt-model", 2
KEYS = ("fps", "layout", "model", "sampling", "sha256", "task", "tasks")
TEXT_NAME = "text.model"
_PARTS = (CONFIG_NAME, WEIGHTS_NAME)
MODEL_FILES = (*_PARTS, TEXT_NAME, *(f"{TOKENIZER_NAME}/{name}" for name in _PARTS))

StoredType = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A complete model. Raises ValueError where the parts do not fit each other."""

    tokenizer: VideoTokenizer
    """Frames <-> codes."""
    text_tokenizer: TextTokenizer
    """Prompts <-> ids."""
    task: Task
    """How ids and codes become one sequence; also fixes size and greatest length of the clips."""
    others: tuple[Task, ...] = ()
    """Further tasks of the same layout that the network was trained for."""
    network: VideoGPT
    """Predicts the next token."""
    fps: float
    """Frames per second of the clips that the model learned from."""
    sampling: SamplingConfig = SamplingConfig()
    """Settings that suit this model."""

    def __post_init__(self) -> None:
        layout = self.task.config
        for key, expected, owner, found in (
            ("codebook_size", layout.codebook_size, "video tokenizer", self.tokenizer.codebook_size),
            ("text_vocab_size", layout.text_vocab_size, "text tokenizer", self.text_tokenizer.vocab_size),
            ("vocab_size", self.task.vocabulary.size, "network", self.network.config.vocab_size),
        ):
            if expected != found:
                raise ValueError(
                    f"the layout's {key} is {expected}, the {owner}'s is {found}: take both from one model"
                )
        config, ids = self.network.config, self.task.vocabulary.ids["video"]
        if config.by_levels and config.code_ids != ids:
            raise ValueError(
                f"the network's codes are the ids {config.code_ids}, the layout's {ids}: take both from one model"
            )
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps}; it must be above 0")
        assert all(task.config == layout for task in self.others), "one network, one layout"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its clips in pixels."""
        layout, stride = self.task.config, self.tokenizer.space_stride
        return layout.latent_height * stride, layout.latent_width * stride

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that the network was trained for."""
        return (self.task, *self.others)

    def task_for(self, asked: str) -> Task:
        """The task that answers a `Request.task`. ValueError: the model was not trained for any; those it knows."""
        for task in self.tasks:
            if asked in task.answers:
                return task
        known = ", ".join(name for task in self.tasks for name in task.answers)
        raise ValueError(f"{asked} is asked for, and the model was not trained for it: it knows {known}")


def load_model(folder_or_name: str | Path) -> SavedModel:
    """Read a model folder onto the CPU, in float32 and evaluation mode.

    ValueError: not found, incomplete, truncated, altered, or put together from two models.
    """
    folder = find_model(folder_or_name)
    config = read_config(folder, FORMAT, KEYS, VERSION)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}: copy the complete model folder again")
    tokenizer = VideoTokenizer.from_pretrained(folder / TOKENIZER_NAME)
    text_tokenizer = TextTokenizer.from_file(folder / TEXT_NAME)
    found = {TOKENIZER_NAME: tokenizer.fingerprint(), TEXT_NAME: text_tokenizer.fingerprint()}
    expected = config.get("sha256")
    for name in found:
        if not isinstance(expected, dict) or expected.get(name) != found[name]:
            raise ValueError(
                f"{folder / name} is not the one this model was trained with (its SHA-256 is not that in "
                "config.json): copy the complete model folder again"
            )
    _, weights = read_pretrained(folder, FORMAT, KEYS, VERSION)
    try:
        kinds = [find_task(str(config.get("task", "text_to_video")))]
        kinds += [kind for kind in map(find_task, _names(config.get("tasks", []))) if kind not in kinds]
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_NAME}: {error}; a later version may know it") from error
    layout = build_config(LayoutConfig, config, "layout", folder)
    task, *others = (kind(layout) for kind in kinds)
    network = _build_network(build_config(VideoGPTConfig, config, "model", folder), weights, folder)
    sampling, fps = build_config(SamplingConfig, config, "sampling", folder), config.get("fps")
    if not isinstance(fps, int | float):
        raise ValueError(f"{folder / CONFIG_NAME}: fps is {fps!r}, not a number: copy the folder again")
    return SavedModel(
        tokenizer=tokenizer,
        text_tokenizer=text_tokenizer,
        task=task,
        others=tuple(others),
        network=network.eval(),
        fps=float(fps),
        sampling=sampling,
    )


def save_model(folder: str | Path, model: SavedModel, *, dtype: StoredType = "float32") -> None:
    """Write a model folder: all of it or nothing. A model folder already there is replaced as a whole.

    Args:
        dtype: How the network's weights are stored; float16 halves the file. They are loaded as float32.

    Raises:
        ValueError: the folder holds files that are not a model's, or `dtype` is unknown.
        OSError: it cannot be written.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype {dtype!r} is not known: choose float32 or float16")
    folder = Path(folder).resolve()
    _refuse_other_files(folder)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "fps": model.fps,
        "task": model.task.name,
        **({"tasks": [task.name for task in model.tasks]} if model.others else {}),
        "layout": dataclasses.asdict(model.task.config),
        "model": model.network.config.settings(),
        "sampling": dataclasses.asdict(model.sampling),
        "sha256": {TOKENIZER_NAME: model.tokenizer.fingerprint(), TEXT_NAME: model.text_tokenizer.fingerprint()},
    }
    stored, tensors = getattr(torch, dtype), model.network.state_dict().items()
    weights = {name: x.to(stored) if x.is_floating_point() else x for name, x in tensors}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacement_of(folder) as partial:
        write_pretrained(partial, config, weights)
        model.text_tokenizer.save(partial / TEXT_NAME)
        model.tokenizer.save_pretrained(partial / TOKENIZER_NAME)


def _names(found: Any) -> list[str]:
    if not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
        raise ValueError(f"tasks is {found!r}, no list of names")
    return found


def _refuse_other_files(folder: Path) -> None:
    """A folder is replaced only where nothing but an older model would be lost."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder for the model")
    known = {name.split("/")[0] for name in MODEL_FILES}
    others = sorted(path.name for path in folder.iterdir() if path.name not in known)
    if others:
        raise ValueError(f"{folder} holds other files ({some_of(others)}): give a folder of its own")


def _build_network(config: VideoGPTConfig, weights: dict[str, Tensor], folder: Path) -> VideoGPT:
    source, last = str(folder / WEIGHTS_NAME), f"blocks.{config.depth - 1}.feed_forward.out.weight"
    # These bound all others, and are asked for before any memory is taken.
    vectors = config.vocab_size - (len(config.code_ids) if config.embedding == "levels" else 0)
    sizes = {"embedding.weight": (vectors, config.width), last: (config.width, config.mlp_width)}
    largest = {name: torch.empty(size, device="meta") for name, size in sizes.items()}
    check_tensors({name: weights[name] for name in sizes if name in weights}, largest, source)
    with float32_by_default():
        network = VideoGPT(config)
    check_tensors(weights, network.state_dict(), source)
    network.load_state_dict(weights, strict=True)
    return network
