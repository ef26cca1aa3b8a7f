"""Text to video: where every token of a caption and a clip stands, what it predicts, what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from videogpt.layouts.config import LayoutConfig, LayoutRules
from videogpt.layouts.sequence import Span
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD

SIZES = {"latent_frames": 2, "latent_height": 2, "latent_width": 3}
CONFIG = LayoutConfig(text_vocab_size=10, codebook_size=16, max_text_tokens=12, **SIZES)
TASK = TextToVideo(CONFIG)
W = TASK.vocabulary.ids["text"].start + 1  # id of the first text token
V = TASK.vocabulary.ids["video"].start


def codes(clips: int, frames: int = 2) -> Tensor:
    return torch.randint(16, (clips, frames, 2, 3))


def examples(texts: list[list[int]], codes_BTHW: Tensor) -> list[Example]:
    return [Example(text, codes_THW) for text, codes_THW in zip(texts, codes_BTHW, strict=True)]


def prompt(texts: list[list[int]], latent_frames: int = 2):
    return TASK.prompt([Example(text) for text in texts], latent_frames)


def test_every_row_of_a_packed_sequence_by_hand() -> None:
    sequence = TASK.pack(examples([[7, 0]], torch.arange(6).reshape(1, 1, 2, 3)))
    video = [*range(V, V + 6)]
    assert sequence.ids_BN.tolist() == [[BOS, W + 7, W, EOT, PAD, PAD, PAD, PAD, BOV, *video[:-1]]]
    assert sequence.targets_BN.tolist() == [[W + 7, W, EOT, PAD, PAD, PAD, PAD, PAD, *video]]
    assert torch.equal(sequence.loss_weight_BN, torch.tensor([[0.1] * 3 + [0.0] * 5 + [1.0] * 6]))
    text = [[row, row, row] for row in range(8)]
    video = [[13, 13, 13], [13, 13, 14], [13, 13, 15], [13, 14, 13], [13, 14, 14]]
    assert sequence.positions_BN3.tolist() == [[*text, [12, 12, 12], *video]]
    assert (sequence.visibility.prefix_B.tolist(), sequence.visibility.body_start) == ([4], 8)
    assert sequence.spans == (Span("text", 0, 8), Span("video", 8, 14))
    assert sequence.rows_of("text") == slice(0, 8) and len(sequence.rows_of("given")) == 0


def test_text_rows_are_shared_by_the_batch_and_rounded_up() -> None:
    sequence = TASK.pack(examples([[], [1] * 7, [2]], codes(3)))
    assert (sequence.visibility.prefix_B.tolist(), sequence.visibility.body_start) == ([2, 9, 3], 16)
    texts = [[], [W + 1] * 7, [W + 2]]
    assert sequence.ids_BN[:, :17].tolist() == [[BOS, *text, EOT, *[PAD] * (14 - len(text)), BOV] for text in texts]


@pytest.mark.parametrize("without_padding", [False, True])
def test_each_row_predicts_the_next_one_where_it_has_a_weight(without_padding: bool) -> None:
    clips = codes(2)
    sequence = TASK.pack(examples([[3, 4, 5], [6]], clips), without_padding=without_padding)
    rows = sequence.rows_of("video")
    assert torch.equal(sequence.targets_BN[:, rows].flatten() - V, clips.flatten())
    assert (sequence.targets_BN[sequence.loss_weight_BN == 0] == PAD).all()
    predicts = sequence.loss_weight_BN[:, :-1] > 0
    same = sequence.targets_BN[:, :-1] == sequence.ids_BN[:, 1:]
    # A clip's last code is no row: without padding the next document begins there.
    assert int((predicts & ~same).sum()) == int(without_padding)


def test_documents_without_padding_are_those_that_are_padded() -> None:
    texts, clips = [[3, 4, 5], [6], []], codes(3)
    padded, joined = (TASK.pack(examples(texts, clips), without_padding=yes) for yes in (False, True))
    assert joined.ids_BN.shape == (1, 3 * 12 + (5 + 3 + 2)) and not (joined.ids_BN == PAD).any()
    assert [span.modality for span in joined.spans] == ["text", "video"] * 3
    for modality in ("text", "video"):
        expected = padded.targets_BN[:, padded.rows_of(modality)]
        real = expected[expected != PAD]
        found = joined.targets_BN[:, joined.rows_of(modality)]
        assert torch.equal(found[found != PAD], real)
    seen = joined.visibility.dense(0, 46, 46)[0]
    assert not seen[17:32, :17].any() and not seen[:17, 17:].any(), "documents see each other"


def test_an_example_without_text_has_the_empty_caption() -> None:
    clips = codes(2)
    first, second = examples([[1, 2, 3], [4]], clips)
    dropped, empty = TASK.pack([first.without_text(), second]), TASK.pack(examples([[], [4]], clips))
    assert torch.equal(dropped.ids_BN, empty.ids_BN)
    assert torch.equal(dropped.visibility.prefix_B, empty.visibility.prefix_B)


def test_a_prompt_is_the_beginning_of_the_packed_sequence() -> None:
    texts = [[1, 2, 3], []]
    given, whole = prompt(texts), TASK.pack(examples(texts, codes(2)))
    rows = given.given.ids_BN.shape[1]
    assert torch.equal(given.given.ids_BN, whole.ids_BN[:, :rows])
    assert torch.equal(given.given.positions_BN3, whole.positions_BN3[:, :rows])
    assert torch.equal(given.positions_1M3[:, :-1], whole.positions_BN3[:, rows:])
    assert (given.modality, list(given.places)) == ("video", list(range(12)))
    assert list(prompt(texts, 1).places) == list(range(6))


def test_a_long_text_is_cut_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="cut to their first 10 tokens: see max_text_tokens"):
        cut = prompt([[1] * 11, [2]]).given
    assert torch.equal(cut.ids_BN, prompt([[1] * 10, [2]]).given.ids_BN)
    assert cut.visibility.prefix_B.tolist() == [12, 3]


def test_a_batch_is_pinned_with_all_its_tensors(monkeypatch) -> None:
    pinned: list[int] = []

    def pin(x: Tensor) -> Tensor:  # where there is no GPU, nothing can be pinned
        pinned.append((copy := x.clone()).data_ptr())
        return copy

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    sequence = TASK.pack(examples([[1]], codes(1)))
    found = sequence.pin_memory()
    tensors = [found.ids_BN, found.positions_BN3, found.targets_BN, found.loss_weight_BN]
    assert {x.data_ptr() for x in [*tensors, found.visibility.documents_BK3]} == set(pinned)
    assert found.spans == sequence.spans


def test_to_moves_every_tensor() -> None:
    moved = TASK.pack(examples([[1]], codes(1))).to("meta")
    tensors = [moved.ids_BN, moved.positions_BN3, moved.targets_BN, moved.loss_weight_BN]
    assert {tensor.device.type for tensor in [*tensors, moved.visibility.prefix_B]} == {"meta"}


def test_rules_of_the_layout_are_those_of_its_visibility() -> None:
    rules = LayoutRules(bidirectional_prefix=True, window_frames=1)
    task = TextToVideo(replace(CONFIG, rules=rules))
    sequence = task.pack(examples([[1, 2]], codes(1)))
    seen = sequence.visibility.dense(0, 20, 20)[0]
    assert seen[0, :4].all(), "the first row sees the whole prefix"
    assert seen[19, :4].all() and seen[19, 15:].all() and not seen[19, 8:15].any(), "the last sees its frame alone"
    assert (sequence.loss_weight_BN[:, :8] == 0).all(), "text that is seen is not predicted"
    assert task.config.settings()["rules"]["window_frames"] == 1 and "rules" not in CONFIG.settings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Example([1], torch.full((2, 2, 3), 16))], "code 16 is not below codebook_size 16"),
        ([Example([1], torch.full((2, 2, 3), -1))], "code -1"),
        ([Example([10], codes(1)[0])], "text id 10 is not below text_vocab_size 10"),
        ([Example([1], codes(1)[0].mT)], r"shape \(2, 3, 2\), the layout takes \(1 to 2, 2, 3\)"),
        ([Example([1], codes(1, frames=3)[0])], r"shape \(3, 2, 3\)"),
        ([], "there is no example"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(given: list[Example], message: str) -> None:
    for without_padding in (False, True):
        with pytest.raises(ValueError, match=message):
            TASK.pack(given, without_padding=without_padding)


def test_frames_that_see_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="bidirectional_frames is set"):
        TextToVideo(replace(CONFIG, rules=LayoutRules(bidirectional_frames=True)))
