"""The model that a training starts from in place of random weights, as in a fine-tune.

    start = Start("shapes", None, TextConfig())     # name or folder
    start.check(task, tokenizer)                  # ValueError: what is trained on is laid out in another way
    network.load_state_dict(start.weights(task))

A training of tasks that show codes before the clip may start from a model that knows none: their ids follow those that
it has, and begin with the vectors of the clip's codes.

Refuses what `load_model` refuses, and sizes or tokenizers that are not those of the model.
"""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt.layouts.task import Task
from videogpt.model.config import VideoGPTConfig
from videogpt.pipeline.saved_model import load_model
from videogpt.training.captions import TextConfig
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# V codes, D width

_OF_DATA = ("vocab_size", "code_levels", "code_start")  # of a network: what a training takes from its data


class Start:
    """A model to start from."""

    def __init__(self, name: str, config: VideoGPTConfig | None, text: TextConfig) -> None:
        """ValueError: no such model, other sizes than those of `config`, or a text tokenizer beside the model's own."""
        self.name, self.model = name, load_model(name)
        if text.tokenizer is not None:
            raise ValueError(f"text.tokenizer is {text.tokenizer}, but pretrained {name} has its own: leave it out")
        if config is not None:
            own = self.model.network.config
            asked = dataclasses.replace(config, **{key: getattr(own, key) for key in _OF_DATA})
            self._compare("model", dataclasses.asdict(asked), dataclasses.asdict(own), "leave model out")

    def check(self, task: Task, tokenizer: VideoTokenizer) -> None:
        """ValueError unless sequences of this task, of codes of this tokenizer, are those that the model has learnt."""
        if tokenizer.fingerprint() != self.model.tokenizer.fingerprint():
            raise ValueError(f"tokenizer is not that of pretrained {self.name}: set it to {self.name}")
        own, layout = self.model.task, dataclasses.asdict(task.config)
        known = own.config.prefix_codes
        if layout["prefix_codes"][: len(known)] == known:
            layout["prefix_codes"] = known  # further ones are learnt
        remedy = "train on clips and with settings like those that it has learnt from"
        self._compare("layout", layout, dataclasses.asdict(own.config), remedy)

    @torch.no_grad()
    def weights(self, task: Task) -> dict[str, Tensor]:
        """Those of the model, with rows for the ids that `task` has beyond the model's."""
        own, weights = self.model, dict(self.model.network.state_dict())
        added = task.vocabulary.size - own.task.vocabulary.size
        vectors_VD = own.network.embedding(torch.tensor(own.task.vocabulary.ids["video"]))
        copies = added // len(vectors_VD)
        weights["embedding.weight"] = torch.cat([weights["embedding.weight"], vectors_VD.repeat(copies, 1)])
        if "head.weight" in weights:
            weights["head.weight"] = F.pad(weights["head.weight"], (0, 0, 0, added))  # nothing predicts them
        return weights

    def _compare(self, what: str, asked: dict[str, Any], own: dict[str, Any], remedy: str) -> None:
        for key, value in own.items():
            if asked[key] != value:
                raise ValueError(f"{what}.{key} is {asked[key]}, that of pretrained {self.name} is {value}: {remedy}")
