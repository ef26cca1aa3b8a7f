"""Layouts: how a prompt and a video become one sequence of tokens.

    layout = Layout(LayoutConfig(text_vocab_size=512, codebook_size=1024, latent_frames=5, latent_height=8, latent_width=8))
    sequence = layout.pack(texts, codes_BTHW)      # for training: the caption, then the codes, with targets
    prompt = layout.prompt(texts)                  # for sampling: its last row's logits predict the first code
    rows = layout.video_rows(codes_BM, start, prompt.visibility)       # and these go on from there

A sequence is rows of BOS, text, EOT, padding up to a row that the whole batch shares, BOV, codes in raster order:

    row        0    1 .. n-2   n-1   n .. R-1   R     R+1 ..
    token      BOS  text       EOT   padding    BOV   codes
    position   row  row        row   unseen     P     (P+1+t, P+1+h, P+1+w)      P = max_text_tokens

Positions have three axes (t, h, w), with text on the diagonal. They do not depend on the padding, so a caption gives the
same result alone and in any batch. Every task is a layout, never an `if` in the model. Codes of another grid, and ids
out of range, are refused; captions that are too long are cut, with a warning.
"""

import dataclasses
import math
import warnings
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeVar

import torch
from einops import rearrange, repeat
from torch import Tensor
from videogpt_kernels.visibility import Visibility

# B sequences, N rows of a sequence, M some rows of a sequence, R rows before BOV, T/H/W latent grid, 3 the axes (t, h, w)

PAD, BOS, BOV, EOT = range(4)
"""Padding, begin of sequence, begin of video, end of text. EOT stands last, next to the text tokens it is predicted with."""

ROUND_TEXT_ROWS = 8
"""The text region is padded to a multiple of this: few different sizes, and kernels like even ones."""

Sequence = TypeVar("Sequence", bound="TokenSequence")


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Sizes of the joint vocabulary and of the clips."""

    text_vocab_size: int
    """Ids of the text tokenizer."""
    codebook_size: int
    """Codes of the video tokenizer."""
    max_text_tokens: int = 64
    """Rows for a caption, with BOS and EOT; longer captions are cut."""
    latent_frames: int
    """Latent frames of the longest clip."""
    latent_height: int
    """Codes in a column of a latent frame."""
    latent_width: int
    """Codes in a row of a latent frame."""

    def __post_init__(self) -> None:
        smallest = dict.fromkeys((field.name for field in dataclasses.fields(self)), 1) | {"max_text_tokens": 2}
        for key, least in smallest.items():
            if getattr(self, key) < least:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least {least}")


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """What the model reads: a batch of sequences, or the rows of one that follow those in a cache."""

    ids_BN: Tensor
    """int64, in the joint vocabulary."""
    positions_BN3: Tensor
    """int64 places (t, h, w) for the rotary embedding; a batch of 1 where all sequences share them."""
    visibility: Visibility
    """Which rows each row may see, for the whole sequence also where these are only some of its rows."""

    def to(self: Sequence, device: torch.device | str) -> Sequence:
        """The same on another device."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: value.to(device) for name, value in fields.items()})


@dataclass(frozen=True, kw_only=True)
class TrainingSequence(TokenSequence):
    """A sequence with what each of its rows is to predict."""

    targets_BN: Tensor
    """int64, in the joint vocabulary; PAD where a row predicts nothing."""
    loss_weight_BN: Tensor
    """float32 weight of each row in the loss, 0 where it predicts nothing."""


class Modality(NamedTuple):
    """A part of the sequence whose targets share one softmax."""

    name: str
    rows: slice
    """Rows that may hold such targets."""
    ids: range
    """Ids the softmax runs over."""


class Layout:
    """Text to video: the caption, then every code of the clip."""

    def __init__(self, config: LayoutConfig) -> None:
        self.config = config
        text_end = EOT + 1 + config.text_vocab_size
        self.text_ids = range(EOT, text_end)
        """What may follow in a text: its end, or a text token."""
        self.video_ids = range(text_end, text_end + config.codebook_size)
        """What may follow in a video: a code."""
        self.vocab_size = text_end + config.codebook_size
        """Size of the joint vocabulary: special ids, text tokens, codes."""
        self.frame_tokens = config.latent_height * config.latent_width
        """Codes of one latent frame."""
        self.video_tokens = config.latent_frames * self.frame_tokens
        """Codes of the longest clip."""

    def pack(
        self,
        texts: list[list[int]],
        codes_BTHW: Tensor,
        *,
        drop_text: Tensor | None = None,
        text_loss_weight: float = 0.1,
    ) -> TrainingSequence:
        """Captions and clips, for training and validation.

        Args:
            texts: ids of the text tokenizer, one list per clip.
            codes_BTHW: int64; a clip may have fewer latent frames than the longest.
            drop_text: bool (B,); where true the caption is replaced by the empty one, the one guidance steers away from.
            text_loss_weight: weight of predicting a text token, where a code weighs 1.

        Raises:
            ValueError: another grid, a code or a text id out of range, or not one caption per clip.
        """
        self._check_codes(codes_BTHW, batch=len(texts))
        if drop_text is not None:
            texts = [[] if dropped else text for text, dropped in zip(texts, drop_text.tolist(), strict=True)]
        prompt = self.prompt(texts)
        codes_BM = self.codes_to_ids(rearrange(codes_BTHW, "b t h w -> b (t h w)").cpu())
        video_start, count = prompt.visibility.video_start, codes_BM.shape[1]
        text_BR = prompt.ids_BN[:, 1:]
        is_text_BR = (text_BR >= self.text_ids.start) & (text_BR < self.text_ids.stop)
        return TrainingSequence(
            ids_BN=torch.cat([prompt.ids_BN, codes_BM[:, :-1]], dim=1),
            positions_BN3=torch.cat([prompt.positions_BN3, self.video_positions(0, count - 1)], dim=1),
            visibility=prompt.visibility,
            targets_BN=torch.cat([text_BR.where(is_text_BR, PAD), codes_BM], dim=1),
            loss_weight_BN=torch.cat([text_loss_weight * is_text_BR, torch.ones(codes_BM.shape)], dim=1),
        )

    def prompt(self, texts: list[list[int]]) -> TokenSequence:
        """Captions and BOV, for sampling: the logits of the last row predict the first code.

        Raises:
            ValueError: a text id out of range, or no text.
        """
        ids_BR, prefix_B = self._text_rows(texts)
        batch, video_start = ids_BR.shape
        positions_N = torch.cat([torch.arange(video_start), torch.tensor([self.config.max_text_tokens])])
        return TokenSequence(
            ids_BN=torch.cat([ids_BR, torch.full((batch, 1), BOV)], dim=1),
            positions_BN3=repeat(positions_N, "n -> 1 n 3"),
            visibility=Visibility(prefix_B=prefix_B, video_start=video_start),
        )

    def video_rows(self, codes_BM: Tensor, start: int, visibility: Visibility) -> TokenSequence:
        """Rows of `M` codes that follow a prompt and the clip's first `start` codes, in raster order."""
        return TokenSequence(
            ids_BN=self.codes_to_ids(codes_BM),
            positions_BN3=self.video_positions(start, codes_BM.shape[1]).to(codes_BM.device),
            visibility=visibility,
        )

    def video_positions(self, start: int, count: int) -> Tensor:
        """Positions of the codes `start` to `start + count - 1` of a clip, (1, count, 3); the clip may be of any length."""
        index_N = torch.arange(start, start + count)
        width, frame = self.config.latent_width, self.frame_tokens
        place_N3 = torch.stack([index_N // frame, index_N % frame // width, index_N % width], dim=-1)
        return rearrange(self.config.max_text_tokens + 1 + place_N3, "n axis -> 1 n axis")

    def codes_to_ids(self, codes: Tensor) -> Tensor:
        """Codes of the video tokenizer -> ids of the joint vocabulary, any shape."""
        return codes + self.video_ids.start

    def ids_to_codes(self, ids: Tensor) -> Tensor:
        """Ids of codes in the joint vocabulary -> codes of the video tokenizer, any shape."""
        return ids - self.video_ids.start

    def modalities(self, sequence: TokenSequence) -> tuple[Modality, Modality]:
        """Where text and video are predicted, and among which ids."""
        video_start = sequence.visibility.video_start
        return (
            Modality("text", slice(0, video_start), self.text_ids),
            Modality("video", slice(video_start, None), self.video_ids),
        )

    def _text_rows(self, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Ids (B, R) of BOS, text, EOT and padding, and the number of rows (B,) of each that are not padding."""
        if not texts:
            raise ValueError("there is no text: give at least one, which may be empty")
        room = self.config.max_text_tokens - 2
        if max(map(len, texts)) > room:
            warnings.warn(f"captions of more than {room} tokens are cut: see max_text_tokens", stacklevel=3)
            texts = [text[:room] for text in texts]
        words = torch.tensor(list(chain.from_iterable(texts)), dtype=torch.long)
        self._check_range(words, "text id", "text_vocab_size", self.config.text_vocab_size)
        length_B = torch.tensor([len(text) for text in texts])
        rows = math.ceil((int(length_B.max()) + 2) / ROUND_TEXT_ROWS) * ROUND_TEXT_ROWS
        row_1R, end_B1 = torch.arange(rows)[None], length_B[:, None] + 1
        ids_BR = torch.full((len(texts), rows), PAD)
        ids_BR[:, 0] = BOS
        ids_BR[(row_1R > 0) & (row_1R < end_B1)] = words + EOT + 1
        ids_BR[row_1R == end_B1] = EOT
        return ids_BR, (length_B + 2).int()

    def _check_codes(self, codes_BTHW: Tensor, batch: int) -> None:
        config = self.config
        found, most = tuple(codes_BTHW.shape), (config.latent_frames, config.latent_height, config.latent_width)
        if len(found) != 4 or not 1 <= found[1] <= most[0] or found[2:] != most[1:]:
            raise ValueError(
                f"codes are of shape {found}; this layout takes (batch, 1 to {most[0]}, {most[1]}, {most[2]}): "
                "tokenize clips of the length and size that the model is configured for"
            )
        if found[0] != batch:
            raise ValueError(f"there are {batch} captions for {found[0]} clips: give one for each")
        self._check_range(codes_BTHW, "code", "codebook_size", config.codebook_size)

    @staticmethod
    def _check_range(values: Tensor, name: str, key: str, size: int) -> None:
        wrong = values[(values < 0) | (values >= size)]
        if wrong.numel():
            raise ValueError(f"{name} {int(wrong[0])} is out of range: {key} is {size}; was another tokenizer used?")
