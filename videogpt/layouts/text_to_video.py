"""Text to video: the caption, then every code of the clip in raster order.

A sequence is BOS, text, EOT, padding up to a row that the whole batch shares, BOV, codes:

    row        0    1 .. n-2   n-1   n .. R-1   R     R+1 ..
    token      BOS  text       EOT   padding    BOV   code (t, h, w)
    position   row  row        row   unseen     P     (P+1+t, P+1+h, P+1+w)       P = max_text_tokens
    span       text ....................        video ...............

Tasks that show codes put them between EOT and the padding, in raster order, at the positions of their places and with
ids of their own; where they are codes of the clip, those of the clip are forced to be the same when sampling.

Positions have three axes (t, h, w), and text lies on the diagonal. They do not depend on the padding, so a caption
gives the same result alone and in any batch. Too long captions are cut, with a warning. Refuses latent frames whose
rows see each other, since a row predicts the next code.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from videogpt.layouts.config import PREFIX_CODES, LayoutConfig
from videogpt.layouts.sequence import Span, TokenSequence, TrainingSequence
from videogpt.layouts.task import LOSS_WEIGHTS, TO_DRAW, Example, Prompt, Task
from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD
from videogpt_kernels import Document, Visibility

# B sequences, R rows of the prefix with padding, G codes in it, M codes of the clip, N rows, 3 the axes (t, h, w)

TEXT_ROWS_MULTIPLE = 8
"""Text rows are padded to a multiple of this, for few different shapes that suit vector units."""


class TextToVideo(Task):
    """Predicts a clip from its caption."""

    answers: ClassVar[tuple[str, ...]] = ("text_to_video", "image_to_video", "continuation")

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
        prefixes = [Example(example.text, prefix_codes=example.prefix_codes) for example in examples]
        prompt = self.prompt(prefixes, codes_BTHW.shape[1])
        given = prompt.given
        read_BM, ids_BM = (
            self.vocabulary.to_ids("video", self.raster.flatten(codes)[:, torch.tensor(prompt.places)])
            for codes in (self.read_of(examples), codes_BTHW)
        )
        next_BR, text_ids = given.ids_BN[:, 1:], self.vocabulary.ids["text"]
        is_text_BR = (next_BR >= text_ids.start) & (next_BR < text_ids.stop)
        is_text_BR &= not self.config.rules.bidirectional_prefix
        weight_BR, weight_BM = is_text_BR * loss_weights["text"], torch.full(ids_BM.shape, loss_weights["video"])
        if prompt.forced_BM is not None:  # they stand in the prefix: there is nothing to predict
            is_given_BM = prompt.forced_BM[:, torch.tensor(prompt.places)] != TO_DRAW
            weight_BM, ids_BM = weight_BM.where(~is_given_BM, 0.0), ids_BM.where(~is_given_BM, PAD)
        positions_BM3, batch = prompt.positions_1M3[:, :-1], len(given.positions_BN3)
        text_rows, video_rows = next_BR.shape[1], ids_BM.shape[1]
        return TrainingSequence(
            ids_BN=torch.cat([given.ids_BN, read_BM[:, :-1]], dim=1),
            positions_BN3=torch.cat([given.positions_BN3, positions_BM3.expand(batch, -1, -1)], dim=1),
            visibility=given.visibility,
            spans=(Span("text", 0, text_rows), Span("video", text_rows, text_rows + video_rows)),
            targets_BN=torch.cat([next_BR.where(is_text_BR, PAD), ids_BM], dim=1),
            loss_weight_BN=torch.cat([weight_BR, weight_BM], dim=1),
        )

    def prompt(self, examples: Sequence[Example], latent_frames: int) -> Prompt:
        """See `Task.prompt`. Codes that are given are forced: a clip goes on from its first frames, for example."""
        prefixes = self._prefixes(examples, latent_frames)
        ids_BR, positions_BR3, length_B = (torch.stack(parts) for parts in zip(*prefixes, strict=True))
        if not any(example.prefix_codes for example in examples):
            positions_BR3 = positions_BR3[:1]  # all share them
        batch, body_start = ids_BR.shape
        bov_B13 = torch.full((len(positions_BR3), 1, 3), self.config.max_text_tokens)
        given = TokenSequence(
            ids_BN=torch.cat([ids_BR, torch.full((batch, 1), BOV)], dim=1),
            positions_BN3=torch.cat([positions_BR3, bov_B13], dim=1),
            visibility=Visibility.prefix_body(length_B.int(), body_start, **self._rules()),
            spans=(Span("text", 0, body_start), Span("video", body_start, body_start + 1)),
        )
        places = range(latent_frames * self.raster.frame_tokens)
        positions_1M3 = self._positions(torch.tensor(places))[None]
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

    def _prefixes(
        self, examples: Sequence[Example], latent_frames: int
    ) -> list[tuple[Tensor, Tensor, Tensor]]:  # ids (R,), positions (R, 3), and how many rows are not padding
        """BOS, text, EOT, codes that are shown, and padding to a number of rows that all share."""
        if not examples:
            raise ValueError("there is no example: give at least one")
        texts, room = [example.text for example in examples], self.config.caption_tokens
        if max(map(len, texts)) > room:
            warnings.warn(f"longer captions are cut to their first {room} tokens: see max_text_tokens", stacklevel=3)
            texts = [text[:room] for text in texts]
        shown = [self._shown_rows(example, latent_frames) for example in examples]
        lengths = [len(text) + 2 + len(ids_G) for text, (ids_G, _) in zip(texts, shown, strict=True)]
        rows = math.ceil(max(lengths) / TEXT_ROWS_MULTIPLE) * TEXT_ROWS_MULTIPLE
        prefixes = []
        for text, (ids_G, positions_G3), length in zip(texts, shown, lengths, strict=True):
            words = torch.tensor(text, dtype=torch.long)
            self.vocabulary.check("text", words, "text id", "text_vocab_size")
            words = self.vocabulary.to_ids("text", words)
            ids_R = torch.cat([torch.tensor([BOS]), words, torch.tensor([EOT]), ids_G])
            positions_R3 = repeat(torch.arange(rows), "r -> r thw", thw=3).clone()
            positions_R3[length - len(ids_G) : length] = positions_G3
            prefixes.append((F.pad(ids_R, (0, rows - length), value=PAD), positions_R3, torch.tensor(length)))
        return prefixes

    def _shown_rows(self, example: Example, latent_frames: int) -> tuple[Tensor, Tensor]:
        """Ids (G,) and positions (G, 3) of codes before the clip. ValueError: the layout has no ids for them."""
        ids, positions = [torch.arange(0)], [torch.zeros(0, 3, dtype=torch.long)]
        for kind in sorted(example.prefix_codes, key=PREFIX_CODES.index):
            if kind not in self.config.prefix_codes:
                known = ", ".join(self.config.prefix_codes) or "none"
                raise ValueError(f"{kind} codes stand before the clip, and the model knows {known}: leave them out")
            codes_THW = example.prefix_codes[kind].cpu()
            self.check_codes(codes_THW, latent_frames)
            codes_M = codes_THW.flatten()
            places_G = torch.nonzero(codes_M != TO_DRAW)[:, 0]
            ids.append(self.vocabulary.to_ids(kind, codes_M[places_G]))
            positions.append(self._positions(places_G))
        return torch.cat(ids), torch.cat(positions)

    def _positions(self, places_M: Tensor) -> Tensor:
        """Positions (M, 3) of codes by their number in the scan."""
        return self.config.max_text_tokens + 1 + self.raster.places(places_M)

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
