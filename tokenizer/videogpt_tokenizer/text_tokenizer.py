"""Text <-> token ids with SentencePiece: any string in, the same string out.

    text = TextTokenizer.train(captions, vocab_size=512)
    ids = text.encode("a red circle moves left")          # [261, 270, ...], each 0 <= id < text.vocab_size
    assert text.decode(ids) == "a red circle moves left"
    text.save("text.model"); text = TextTokenizer.from_file("text.model")

The model is byte-pair encoding with byte fallback (Kudo and Richardson 2018, arXiv:1808.06226): what the
captions did not contain is spelled in UTF-8 bytes, so no prompt is out of vocabulary. Nothing is normalised.
Refuses files that are not SentencePiece models and models without byte pieces; adds no begin, end or padding
ids, which belong to whoever builds sequences.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from videogpt_tokenizer.files.replacing import write_whole

SPACE = "\u2581"
"""What SentencePiece writes for a space; as a character of a text it would come back as a space."""

_LOSSY = re.compile(f"[{SPACE}\ud800-\udfff]")
"""SPACE, and halves of surrogate pairs, which SentencePiece does not take at all."""

BASE_VOCAB = 258
"""The unknown piece, 256 bytes and the space: every vocabulary has them."""

LONGEST_WORD = 512
"""Words are cut to so many characters for training (SentencePiece drops sentences above 4192 bytes)."""


class TextTokenizer:
    """A SentencePiece model behind encode and decode that lose nothing."""

    def __init__(self, model: bytes) -> None:
        """Take the bytes of a SentencePiece model; ValueError where they are none or have no byte pieces."""
        self._model = model
        self._processor = _parse(model)
        self.vocab_size: int = self._processor.vocab_size()
        """Number of ids, 0 to vocab_size - 1."""
        ids = range(self.vocab_size)
        self._text_of_id = [_piece_bytes(self._processor, i) for i in ids]
        self._id_of_byte = {self._text_of_id[i][0]: i for i in ids if self._processor.is_byte(i)}
        if len(self._id_of_byte) != 256:
            raise ValueError("the SentencePiece model has no byte pieces: train it with byte_fallback=True")

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int = 512) -> "TextTokenizer":
        """Learn the pieces from captions; the same words and counts give the same bytes.

        vocab_size: upper bound (at least 258); few captions give fewer ids. Pairs are merged most frequent
        first, so in a small set each word, led by its space, ends up as one piece. (Captions of talking
        faces, robots and shapes take 1.0 ids a word, and 2.4 to 3.4 with SentencePiece's unigram model.)
        """
        if vocab_size < BASE_VOCAB:
            raise ValueError(f"vocab_size {vocab_size} is too small: bytes alone need {BASE_VOCAB}")
        words = Counter(word[:LONGEST_WORD] for caption in captions for word in caption.split())
        known = _frequent_characters(words, (vocab_size - BASE_VOCAB) // 2)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_training_lines(words, known),
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,  # one piece for a word at the start and inside; decode takes it off again
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
        return cls(model.getvalue())

    @classmethod
    def from_file(cls, path: str | Path) -> "TextTokenizer":
        """Read a saved model; ValueError where the file is none, OSError where it cannot be read."""
        try:
            return cls(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_bytes(self) -> bytes:
        """The SentencePiece model file as bytes."""
        return self._model

    def save(self, path: str | Path) -> None:
        """Write the SentencePiece model, whole or not at all."""
        write_whole(Path(path), self._model)

    def fingerprint(self) -> str:
        """sha256 of the model, 64 hexadecimal digits: equal fingerprints, equal ids."""
        return hashlib.sha256(self._model).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of the text; [] for the empty one.

        A text that pieces cannot carry exactly (it holds U+2581 or half a surrogate pair, or the model came
        from elsewhere and normalises) is spelled in bytes throughout.
        """
        if not text:
            return []
        if not _LOSSY.search(text):
            ids = list(self._processor.encode(text))
            if self.decode(ids) == text:
                return ids
        return [self._id_of_byte[byte] for byte in (" " + text).encode("utf-8", "surrogatepass")]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; bytes that are not UTF-8, as a model may sample them, become U+FFFD."""
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise ValueError(f"text id {i} is outside 0..{self.vocab_size - 1}")
        text = b"".join(self._text_of_id[i] for i in ids)
        try:
            return text.decode("utf-8", "surrogatepass").removeprefix(" ")
        except UnicodeDecodeError:
            return text.decode("utf-8", "replace").removeprefix(" ")


def _parse(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """A processor of the model; SentencePiece itself takes no bytes for "no model yet" and says nothing."""
    remedy = "give a model written by TextTokenizer.save or by SentencePiece"
    if not model:
        raise ValueError(f"empty, not a SentencePiece model: {remedy}")
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise ValueError(f"not a SentencePiece model: {remedy}") from error


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
    """What id i adds to a text, in UTF-8: nothing for control pieces, U+FFFD for the unknown piece."""
    piece = processor.id_to_piece(i)
    if processor.is_byte(i):
        return bytes([int(piece[3:5], 16)])  # "<0x0A>"
    if processor.is_control(i):
        return b""
    return ("\ufffd" if processor.is_unknown(i) else piece.replace(SPACE, " ")).encode()


def _frequent_characters(words: Counter[str], limit: int) -> set[str]:
    """The `limit` most frequent characters, without those that SentencePiece cannot train on."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    trainable = (c for c in counts if c not in "\0\u2581\u2585" and not "\ud800" <= c <= "\udfff")
    return set(sorted(trainable, key=lambda c: (-counts[c], c))[:limit])


def _training_lines(words: Counter[str], known: set[str]) -> Iterable[str]:
    """Lines "word<tab>count" in a fixed order; words are cut where a character is left to the byte pieces."""
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for part in "".join(c if c in known else " " for c in word).split():
            parts[part] += count
    if not parts:
        return iter([" \t1"])  # no words at all: the base vocabulary
    return iter(f"{part}\t{parts[part]}" for part in sorted(parts))
