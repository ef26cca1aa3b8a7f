"""Text tokenizer: every string survives, training repeats itself, bad files are refused."""

import pickle
import random
from functools import partial

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt_tokenizer.text_tokenizer import TextTokenizer

COLOURS = ("red", "green", "blue", "yellow")
CAPTIONS = [f"a {c} {s} moves {d}" for c in COLOURS for s in ("circle", "star") for d in ("left", "up")]


@pytest.fixture(scope="module")
def text() -> TextTokenizer:
    return TextTokenizer.train(CAPTIONS)


AWKWARD = [
    "", " ", "  two  spaces  ", "\n", "line\r\nline\ttab", "\0", "a\0b", "\u2581", "a\u2581b", "\u2585",
    "\ufffd", "\ufeffmark", "\u4e00\u4e2a\u7ea2\u5706", "\U0001f3a5\U0001f468\u200d\U0001f469", "\u0301",
    "e\u0301", "\u00e9", "\ufb01", "\uff21", "<unk>", "<0x41>", "<s></s>", "\ud800", "\udce9 \ud83d\ude00",
    "../../etc/passwd", "'\"`$(x)", "a red circle moves left " * 200,
]  # fmt: skip


@pytest.mark.parametrize("string", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_strings_survive(text: TextTokenizer, string: str) -> None:
    ids = text.encode(string)
    assert text.decode(ids) == string
    assert all(0 <= i < text.vocab_size for i in ids)


@settings(max_examples=400, deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_any_string_survives(string: str) -> None:
    for tokenizer in (WORDS, NOTHING):
        assert tokenizer.decode(tokenizer.encode(string)) == string


WORDS = TextTokenizer.train([*CAPTIONS, "\u4e00\u4e2a  \u7ea2\u5706", "a\tb\nc"])
NOTHING = TextTokenizer.train([])


def test_each_frequent_word_is_one_token(text: TextTokenizer) -> None:
    for caption in CAPTIONS:
        assert len(text.encode(caption)) == len(caption.split())
    assert text.encode("red")[0] == text.encode("a red")[-1]  # the same piece at the start and inside


def test_training_repeats_itself_whatever_the_order() -> None:
    shuffled = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    first, second = TextTokenizer.train(CAPTIONS), TextTokenizer.train(iter(shuffled))
    assert first.to_bytes() == second.to_bytes()
    assert first.fingerprint() == second.fingerprint() != TextTokenizer.train(CAPTIONS[1:]).fingerprint()


@pytest.mark.parametrize(
    "captions",
    [[], ["", " ", "\n"], ["a"], ["\0"], ["\u2581"], ["\u2585 a"], ["\ud800"], ["ab" * 5000], ["\U0001f3a5"]],
    ids=ascii,
)
def test_trains_on_hardly_anything(captions: list[str]) -> None:
    text = TextTokenizer.train(captions)
    assert 258 <= text.vocab_size <= 512
    assert text.decode(text.encode("a red circle")) == "a red circle"


def test_more_characters_than_vocabulary() -> None:
    chinese = ["".join(chr(0x4E00 + i + k) for i in range(40)) for k in range(0, 4000, 7)]
    text = TextTokenizer.train(chinese, vocab_size=400)
    assert text.vocab_size == 400
    assert text.decode(text.encode(chinese[3])) == chinese[3]


def test_vocabulary_bounds() -> None:
    assert TextTokenizer.train(CAPTIONS, vocab_size=270).vocab_size == 270
    with pytest.raises(ValueError, match="vocab_size 100 .* 258"):
        TextTokenizer.train(CAPTIONS, vocab_size=100)


def test_save_load_and_pickle_keep_the_ids(text: TextTokenizer, tmp_path) -> None:
    text.save(tmp_path / "text.model")
    loaded = TextTokenizer.from_file(tmp_path / "text.model")
    assert loaded.fingerprint() == text.fingerprint()
    pickled = pickle.loads(pickle.dumps(text))
    assert loaded.encode(CAPTIONS[0]) == pickled.encode(CAPTIONS[0]) == text.encode(CAPTIONS[0])
    assert [p.name for p in tmp_path.iterdir()] == ["text.model"]


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 100], ids=["empty", "words", "zeros"])
def test_refuses_files_that_are_no_model(tmp_path, content: bytes) -> None:
    path = tmp_path / "text.model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="text.model.*not a SentencePiece model"):
        TextTokenizer.from_file(path)


def test_model_from_elsewhere(tmp_path) -> None:
    options = {"vocab_size": 300, "hard_vocab_limit": False, "model_prefix": str(tmp_path / "m")}
    train = partial(sentencepiece.SentencePieceTrainer.train, minloglevel=2, **options)
    train(sentence_iterator=iter(CAPTIONS), byte_fallback=True)  # normalises by default
    text = TextTokenizer.from_file(tmp_path / "m.model")
    assert text.decode(text.encode("  \ufb01ve  stars ")) == "  \ufb01ve  stars "
    train(sentence_iterator=iter(CAPTIONS))
    with pytest.raises(ValueError, match="m.model.*byte_fallback=True"):
        TextTokenizer.from_file(tmp_path / "m.model")


def test_broken_bytes_and_ids_outside(text: TextTokenizer) -> None:
    clock = text.encode("\u4e00")
    assert text.decode(clock[:-1]) == "\ufffd"
    for i in (-1, text.vocab_size):
        with pytest.raises(ValueError, match=f"text id {i} is outside"):
            text.decode([i])
