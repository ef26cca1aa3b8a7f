"""Text to video: the caption, then every code of the clip in raster order.

A sequence is BOS, text, EOT, padding up to a row that the whole batch shares, BOV, codes:

    row        0    1 .. n-2   n-1   n .. R-1   R     R+1 ..
    token      BOS  text       EOT   padding    BOV   code (t, h, w)
    position   row  row        row   unseen     P     (P+1+t, P+1+h, P+1+w)       P = max_text_tokens
    span       text ....................        video ...............

Positions have three axes (t, h, w), and text lies on the diagonal. They do not depend on the padding, so a caption
gives the same result alone and in any batch. Too long captions are cut, with a warning. Refuses latent frames whose
rows see each other, since a row predicts the next code.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.sequence import Span, TokenSequence, TrainingSequence
from videogpt.layouts.task import LOSS_WEIGHTS, Example, Prompt, Task
from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD
from videogpt_kernels import Document, Visibility

# B sequences, R text rows with padding, M codes, N rows, 3 the axes (t, h, w)

TEXT_ROWS_MULTIPLE = 8
"""Text rows are padded to a multiple of this, for few different shapes that suit vector units."""


class TextToVideo(Task):
    """Predicts a clip from its caption."""

    def __init__(self, config: LayoutConfig) -> None:
        super().__init__(config)
        if config.rules.bidirectional_frames:
            raise ValueError(
                "bidirectional_frames is set, and a row would see the code that it is to predict: unset it"
            )

    def pack(
        self,
        examples: Sequence[Example],
        *,
        loss_weights: Mapping[str, float] = LOSS_WEIGHTS,
        without_padding: bool = False,
    ) -> TrainingSequence:
        """See `Task.pack`. The last code of a clip is a target, but no row."""
        if without_padding and examples:
            return self._joined([self.pack([example], loss_weights=loss_weights) for example in examples])
        codes_BTHW = self.codes_of(examples)
        prompt = self.prompt([Example(example.text) for example in examples], codes_BTHW.shape[1])
        given = prompt.given
        read_BM, ids_BM = (
            self.vocabulary.to_ids("video", self.raster.flatten(codes)[:, torch.tensor(prompt.places)])
            for codes in (self.read_of(examples), codes_BTHW)
        )
        next_BR, text_ids = given.ids_BN[:, 1:], self.vocabulary.ids["text"]
        is_text_BR = (next_BR >= text_ids.start) & (next_BR < text_ids.stop)
        is_text_BR &= not self.config.rules.bidirectional_prefix
        weight_BR, weight_BM = is_text_BR * loss_weights["text"], torch.full(ids_BM.shape, loss_weights["video"])
        text_rows, video_rows = next_BR.shape[1], ids_BM.shape[1]
        return TrainingSequence(
            ids_BN=torch.cat([given.ids_BN, read_BM[:, :-1]], dim=1),
            positions_BN3=torch.cat([given.positions_BN3, prompt.positions_1M3[:, :-1]], dim=1),
            visibility=given.visibility,
            spans=(Span("text", 0, text_rows), Span("video", text_rows, text_rows + video_rows)),
            targets_BN=torch.cat([next_BR.where(is_text_BR, PAD), ids_BM], dim=1),
            loss_weight_BN=torch.cat([weight_BR, weight_BM], dim=1),
        )

    def prompt(self, examples: Sequence[Example], latent_frames: int) -> Prompt:
        """See `Task.prompt`. Codes that are given are forced: a clip goes on from its first frames, for example."""
        ids_BR, length_B = self._text_rows([example.text for example in examples])
        batch, body_start = ids_BR.shape
        position_N = torch.tensor([*range(body_start), self.config.max_text_tokens])
        given = TokenSequence(
            ids_BN=torch.cat([ids_BR, torch.full((batch, 1), BOV)], dim=1),
            positions_BN3=repeat(position_N, "n -> 1 n thw", thw=3),
            visibility=Visibility.prefix_body(length_B.int(), body_start, **self._rules()),
            spans=(Span("text", 0, body_start), Span("video", body_start, body_start + 1)),
        )
        places = range(latent_frames * self.raster.frame_tokens)
        positions_1M3 = self.config.max_text_tokens + 1 + self.raster.places(torch.tensor(places))[None]
        return Prompt(
            given=given,
            modality="video",
            places=places,
            positions_1M3=positions_1M3,
            forced_BM=self.forced(examples, latent_frames),
        )

    def _rules(self) -> dict[str, Any]:
        """The layout's rules in the words of `Visibility`."""
        return {**asdict(self.config.rules), "frame_tokens": self.raster.frame_tokens}

    def _text_rows(self, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids (B, R) of BOS, text, EOT and padding, and how many rows (B,) of each are not padding."""
        if not texts:
            raise ValueError("there is no example: give at least one")
        room = self.config.caption_tokens
        if max(map(len, texts)) > room:
            warnings.warn(f"longer captions are cut to their first {room} tokens: see max_text_tokens", stacklevel=2)
            texts = [text[:room] for text in texts]
        words = torch.tensor(list(chain.from_iterable(texts)), dtype=torch.long)
        self.vocabulary.check("text", words, "text id", "text_vocab_size")
        length_B = torch.tensor([len(text) + 2 for text in texts])
        rows = math.ceil(int(length_B.max()) / TEXT_ROWS_MULTIPLE) * TEXT_ROWS_MULTIPLE
        row_R, last_B1 = torch.arange(rows), length_B[:, None] - 1
        ids_BR = torch.full((len(texts), rows), PAD)
        ids_BR[:, 0] = BOS
        ids_BR[(row_R > 0) & (row_R < last_B1)] = self.vocabulary.to_ids("text", words)
        ids_BR[row_R == last_B1] = EOT
        return ids_BR, length_B

    def _joined(self, sequences: Sequence[TrainingSequence]) -> TrainingSequence:
        """Sequences of one example each as documents of one sequence, without their padding."""
        kept: dict[str, list[Tensor]] = {"ids_BN": [], "positions_BN3": [], "targets_BN": [], "loss_weight_BN": []}
        documents, spans, end = [], [], 0
        for sequence in sequences:
            prefix, body_start = int(sequence.visibility.prefix_B), sequence.visibility.body_start
            rows_N = torch.cat([torch.arange(prefix), torch.arange(body_start, sequence.ids_BN.shape[1])])
            for key, parts in kept.items():
                parts.append(getattr(sequence, key)[:, rows_N])
            documents.append(Document(prefix, len(rows_N) - prefix))
            spans += [Span("text", end, end + prefix), Span("video", end + prefix, end + len(rows_N))]
            end += len(rows_N)
        return TrainingSequence(
            visibility=Visibility.packed([documents], **self._rules()),
            spans=tuple(spans),
            **{key: torch.cat(parts, dim=1) for key, parts in kept.items()},
        )
