"""Layouts: how a prompt and a video become one sequence of tokens.

    layout = Layout(LayoutConfig(text_vocab_size=512, codebook_size=1024, latent_frames=5, ...))
    sequence = layout.pack(texts, codes_BTHW)      # for training: captions, codes and what each row predicts
    prompt = layout.prompt(texts)                  # for sampling: the last row predicts the first code
    place_1M3 = layout.video_positions(0, 320)     # positions of the codes that follow a prompt

A sequence is BOS, text, EOT, padding up to a row that the whole batch shares, BOV, codes in raster order:

    row        0    1 .. n-2   n-1   n .. R-1   R     R+1 ..
    token      BOS  text       EOT   padding    BOV   code (t, h, w)
    position   row  row        row   unseen     P     (P+1+t, P+1+h, P+1+w)       P = max_text_tokens

Positions have three axes (t, h, w), and text lies on the diagonal. They do not depend on the padding, so a
caption gives the same result alone and in any batch. Every task is a layout, never an `if` in the model.

Refused: ids and codes out of range, codes of another grid. Too long captions are cut, with a warning.
"""

import dataclasses
import math
import warnings
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
from einops import rearrange, repeat
from torch import Tensor

from videogpt_kernels import Visibility
from videogpt_tokenizer.checks import check_whole

# B sequences, N rows, R text rows with padding, M codes, T/H/W latent grid, 3 the axes (t, h, w)

PAD, BOS, BOV, EOT = range(4)
"""Padding, begin of sequence, begin of video, end of text. EOT is next to the text it is predicted with."""

TEXT_ROWS_MULTIPLE = 8
"""Text rows are padded to a multiple of this, for few different shapes that suit vector units."""

AnySequence = TypeVar("AnySequence", bound="TokenSequence")


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Sizes of the joint vocabulary and of the clips."""

    text_vocab_size: int
    """Ids of the text tokenizer."""
    codebook_size: int
    """Codes of the video tokenizer."""
    max_text_tokens: int = 64
    """Most rows of a caption, counting BOS and EOT; longer captions are cut."""
    latent_frames: int
    """Latent frames of the longest clip."""
    latent_height: int
    """Codes from top to bottom of a latent frame."""
    latent_width: int
    """Codes from left to right of a latent frame."""

    def __post_init__(self) -> None:
        check_whole("text_vocab_size", self.text_vocab_size, 1, 2**24)
        check_whole("codebook_size", self.codebook_size, 1, 2**31)
        check_whole("max_text_tokens", self.max_text_tokens, 2, 2**20)
        check_whole("latent_frames", self.latent_frames, 1, 2**20)
        check_whole("latent_height", self.latent_height, 1, 2**12)
        check_whole("latent_width", self.latent_width, 1, 2**12)


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """What the model reads: whole sequences, or the rows that follow those in a cache."""

    ids_BN: Tensor
    """int64, in the joint vocabulary."""
    positions_BN3: Tensor
    """int64 places (t, h, w) for the rotary embedding; a batch of 1 where all sequences share them."""
    visibility: Visibility
    """Which rows each row may see: that of the whole sequence, also where these are only some of its rows."""

    def to(self: AnySequence, device: torch.device | str) -> AnySequence:
        """The same on another device."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: value.to(device) for name, value in fields.items()})


@dataclass(frozen=True, kw_only=True)
class TrainingSequence(TokenSequence):
    """Whole sequences with what each row is to predict."""

    targets_BN: Tensor
    """int64, in the joint vocabulary; PAD where a row predicts nothing."""
    loss_weight_BN: Tensor
    """float32 weight of each row in the loss; 0 where a row predicts nothing."""


class Layout:
    """Text to video: the caption, then every code of the clip."""

    def __init__(self, config: LayoutConfig) -> None:
        self.config = config
        first_code = EOT + 1 + config.text_vocab_size
        self.text_ids = range(EOT, first_code)
        """Ids that can follow in a text: its end, or a text token."""
        self.video_ids = range(first_code, first_code + config.codebook_size)
        """Ids that can follow in a video: codes."""
        self.vocab_size = first_code + config.codebook_size
        """Size of the joint vocabulary: special ids, text tokens, codes."""
        self.frame_tokens = config.latent_height * config.latent_width
        """Codes of one latent frame."""
        self.video_tokens = config.latent_frames * self.frame_tokens
        """Codes of the longest clip."""
        self.caption_tokens = config.max_text_tokens - 2
        """Most tokens of a caption, without BOS and EOT; the rest of a longer one is cut off."""

    def pack(
        self,
        texts: list[list[int]],
        codes_BTHW: Tensor,
        *,
        drop_text: Tensor | None = None,
        text_loss_weight: float = 0.1,
    ) -> TrainingSequence:
        """Captions and clips for training and validation, on the CPU. The last code is a target, but no row.

        Args:
            texts: ids of the text tokenizer, one list per clip.
            codes_BTHW: int64; all clips of a batch may be shorter than the longest that the layout takes.
            drop_text: bool (B,); true where the empty caption takes the place of the clip's own: guidance
                steers away from what the model then predicts.
            text_loss_weight: weight of predicting a text token, where a code weighs 1.

        Raises:
            ValueError: another grid, a code or text id out of range, or not one caption per clip.
        """
        self._check_codes(codes_BTHW, captions=len(texts))
        if drop_text is not None:
            texts = [[] if dropped else text for text, dropped in zip(texts, drop_text.tolist(), strict=True)]
        prompt = self.prompt(texts)
        codes_BM = self.codes_to_ids(rearrange(codes_BTHW, "b t h w -> b (t h w)").cpu())
        places_1M3 = self.video_positions(0, codes_BM.shape[1] - 1)
        next_BR = prompt.ids_BN[:, 1:]
        is_text_BR = (next_BR >= self.text_ids.start) & (next_BR < self.text_ids.stop)
        return TrainingSequence(
            ids_BN=torch.cat([prompt.ids_BN, codes_BM[:, :-1]], dim=1),
            positions_BN3=torch.cat([prompt.positions_BN3, places_1M3], dim=1),
            visibility=prompt.visibility,
            targets_BN=torch.cat([next_BR.where(is_text_BR, PAD), codes_BM], dim=1),
            loss_weight_BN=torch.cat([text_loss_weight * is_text_BR, torch.ones(codes_BM.shape)], dim=1),
        )

    def prompt(self, texts: list[list[int]]) -> TokenSequence:
        """Captions and BOV, for sampling, on the CPU: the logits of the last row are those of the first code.

        Raises:
            ValueError: a text id out of range, or no caption at all (an empty one is allowed).
        """
        ids_BR, length_B = self._text_rows(texts)
        batch, body_start = ids_BR.shape
        position_N = torch.tensor([*range(body_start), self.config.max_text_tokens])
        return TokenSequence(
            ids_BN=torch.cat([ids_BR, torch.full((batch, 1), BOV)], dim=1),
            positions_BN3=repeat(position_N, "n -> 1 n thw", thw=3),
            visibility=Visibility.prefix_body(length_B.int(), body_start),
        )

    def video_positions(self, start: int, count: int) -> Tensor:
        """Positions (1, count, 3) of the codes from number `start` of a clip, which may be of any length."""
        number_N = torch.arange(start, start + count)
        frame_tokens, width = self.frame_tokens, self.config.latent_width
        place_N3 = torch.stack([number_N // frame_tokens, number_N % frame_tokens // width, number_N % width], dim=-1)
        return rearrange(self.config.max_text_tokens + 1 + place_N3, "n thw -> 1 n thw")

    def codes_to_ids(self, codes: Tensor) -> Tensor:
        """Codes of the video tokenizer -> ids of the joint vocabulary, any shape."""
        return codes + self.video_ids.start

    def ids_to_codes(self, ids: Tensor) -> Tensor:
        """Ids in `video_ids` -> codes of the video tokenizer, any shape."""
        return ids - self.video_ids.start

    def _text_rows(self, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids (B, R) of BOS, text, EOT and padding, and how many rows (B,) of each are not padding."""
        if not texts:
            raise ValueError("there is no caption: give at least one, which may be empty")
        room = self.caption_tokens
        if max(map(len, texts)) > room:
            warnings.warn(f"longer captions are cut to their first {room} tokens: see max_text_tokens", stacklevel=2)
            texts = [text[:room] for text in texts]
        words = torch.tensor(list(chain.from_iterable(texts)), dtype=torch.long)
        _check_range(words, "text id", "text_vocab_size", self.config.text_vocab_size)
        length_B = torch.tensor([len(text) + 2 for text in texts])
        rows = math.ceil(int(length_B.max()) / TEXT_ROWS_MULTIPLE) * TEXT_ROWS_MULTIPLE
        row_R, last_B1 = torch.arange(rows), length_B[:, None] - 1
        ids_BR = torch.full((len(texts), rows), PAD)
        ids_BR[:, 0] = BOS
        ids_BR[(row_R > 0) & (row_R < last_B1)] = EOT + 1 + words
        ids_BR[row_R == last_B1] = EOT
        return ids_BR, length_B

    def _check_codes(self, codes_BTHW: Tensor, captions: int) -> None:
        found = tuple(codes_BTHW.shape)
        frames, height, width = self.config.latent_frames, self.config.latent_height, self.config.latent_width
        if len(found) != 4 or not 1 <= found[1] <= frames or found[2:] != (height, width):
            raise ValueError(
                f"codes are of shape {found}, the layout takes (clips, 1 to {frames}, {height}, {width}): "
                "tokenize clips of the size and length that the model is made for"
            )
        if found[0] != captions:
            raise ValueError(f"there are {captions} captions for {found[0]} clips: give one for each")
        _check_range(codes_BTHW, "code", "codebook_size", self.config.codebook_size)


def _check_range(values: Tensor, name: str, key: str, size: int) -> None:
    wrong = values[(values < 0) | (values >= size)]
    if wrong.numel():
        raise ValueError(f"{name} {int(wrong[0])} is not below {key} {size}: it is another tokenizer's")
