"""Captions as tokens, and rows of token shards as sequences to train on; the latter in the loader's workers.

Without a text tokenizer of the user's, one is trained on the captions and kept as `text.model` in the run folder.
"""

import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from videogpt.layouts.guesses import with_guesses
from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.task import LOSS_WEIGHTS, Example, Task
from videogpt.tokens.reader import TokenRow
from videogpt_tokenizer import TextTokenizer

log = logging.getLogger(__name__)

KEPT_NAME = "text.model"
"""The run's text tokenizer, in its folder."""


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How captions become tokens."""

    tokenizer: str | None = None
    """SentencePiece file; without one a tokenizer is trained on the data set's captions."""
    vocab_size: int = 512
    """Most tokens of a tokenizer that is trained; of one that is given all are taken."""
    max_tokens: int = 64
    """Rows kept for a caption; longer captions are cut."""
    dropout: float = 0.1
    """Share of captions replaced by the empty one, which is what guidance steers away from."""
    loss_weight: float = 0.1
    """Weight of predicting a text token, where a video token weighs 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"text.dropout is {self.dropout}; it must lie in [0, 1], for example 0.1")
        if not 0 <= self.loss_weight < math.inf:
            raise ValueError(f"text.loss_weight is {self.loss_weight}; it must be 0 or more, for example 0.1")
        if self.max_tokens < 1:
            raise ValueError(f"text.max_tokens is {self.max_tokens}; it must be 1 or more, for example 64")


def pack_rows(
    rows: Sequence[TokenRow],
    *,
    task: Task,
    text_tokenizer: TextTokenizer,
    text: TextConfig,
    without_padding: bool = False,
    guessed_lines: float = 0.0,
    mixture: Mapping[Task, float] = MappingProxyType({}),
) -> TrainingSequence:
    """Rows -> one batch of sequences. From rows that bring random numbers captions are dropped at random, a share
    `guessed_lines` of the grid's lines is read as guesses, and what the task shows of a clip is drawn. A batch is of
    one task, so that its sequences are about as long as each other: `task`, or one of a mixture, drawn by weight.
    """
    examples = []
    if mixture and rows and rows[0].draw is not None:
        shares = np.array(list(mixture.values()))
        task = list(mixture)[rows[0].draw.choice(len(mixture), p=shares / shares.sum())]
    for row in rows:
        dropped = row.draw is not None and float(row.draw.random()) < text.dropout
        words = [] if dropped else text_tokenizer.encode(row.caption)
        example = Example(words, row.codes_THW, _read(row, task, guessed_lines))
        # In validation a clip is always shown in the same way.
        draw = row.draw or np.random.default_rng(zlib.crc32(row.codes_THW.numpy().tobytes()))
        examples.append(task.shown(example, draw))
    weights = {**LOSS_WEIGHTS, "text": text.loss_weight}
    return task.pack(examples, loss_weights=weights, without_padding=without_padding)


def _read(row: TokenRow, task: Task, guessed_lines: float) -> Tensor | None:
    """What is read in place of the row's codes, where some of its lines are guessed."""
    if row.draw is None or not guessed_lines:
        return None
    lines_TH = torch.from_numpy(row.draw.random(row.codes_THW.shape[:2]) < guessed_lines)
    return with_guesses(row.codes_THW, lines_TH, task.raster)


def find_text_tokenizer(config: TextConfig, run: Path, captions: Callable[[], list[str]]) -> TextTokenizer:
    """The user's, else that of the run's folder, else one trained on the captions. ValueError for what is none."""
    if config.tokenizer is not None:
        if not Path(config.tokenizer).is_file():
            raise ValueError(f"model.text.tokenizer {config.tokenizer} is no file: give a SentencePiece model, or none")
        return TextTokenizer.from_file(config.tokenizer)
    if (run / KEPT_NAME).is_file():
        return TextTokenizer.from_file(run / KEPT_NAME)
    tokenizer = TextTokenizer.train(captions(), vocab_size=config.vocab_size)
    log.info("trained a text tokenizer of %d tokens on the captions", tokenizer.vocab_size)
    return tokenizer
