"""Layouts: where every token of a caption and a clip stands, what it predicts, what is refused."""

import pytest
import torch

from videogpt.layouts.text_to_video import BOS, BOV, EOT, PAD, Layout, LayoutConfig

LAYOUT = Layout(
    LayoutConfig(
        text_vocab_size=10,
        codebook_size=16,
        max_text_tokens=12,
        latent_frames=2,
        latent_height=2,
        latent_width=3,
    )
)
W = LAYOUT.text_ids.start + 1  # id of the first text token
V = LAYOUT.video_ids.start


def codes(clips: int, frames: int = 2) -> torch.Tensor:
    return torch.randint(16, (clips, frames, 2, 3))


def test_the_ids_of_specials_text_and_video_fill_the_vocabulary_once() -> None:
    ids = [PAD, BOS, BOV, *LAYOUT.text_ids, *LAYOUT.video_ids]
    assert ids == list(range(LAYOUT.vocab_size))
    assert LAYOUT.text_ids.start == EOT and len(LAYOUT.video_ids) == 16
    assert (LAYOUT.frame_tokens, LAYOUT.video_tokens) == (6, 12)


def test_every_row_of_a_packed_sequence_by_hand() -> None:
    sequence = LAYOUT.pack([[7, 0]], torch.arange(6).reshape(1, 1, 2, 3))
    video = [V, V + 1, V + 2, V + 3, V + 4, V + 5]
    assert sequence.ids_BN.tolist() == [[BOS, W + 7, W, EOT, PAD, PAD, PAD, PAD, BOV, *video[:-1]]]
    assert sequence.targets_BN.tolist() == [[W + 7, W, EOT, PAD, PAD, PAD, PAD, PAD, *video]]
    assert torch.equal(sequence.loss_weight_BN, torch.tensor([[0.1] * 3 + [0.0] * 5 + [1.0] * 6]))
    text = [[row, row, row] for row in range(8)]
    video = [[13, 13, 13], [13, 13, 14], [13, 13, 15], [13, 14, 13], [13, 14, 14]]
    assert sequence.positions_BN3.tolist() == [[*text, [12, 12, 12], *video]]
    assert (sequence.visibility.prefix_B.tolist(), sequence.visibility.body_start) == ([4], 8)


def test_text_rows_are_shared_by_the_batch_and_rounded_up() -> None:
    sequence = LAYOUT.pack([[], [1] * 7, [2]], codes(3))
    assert sequence.visibility.body_start == 16
    assert sequence.visibility.prefix_B.tolist() == [2, 9, 3]
    assert sequence.ids_BN[:, 16].tolist() == [BOV] * 3
    for row, length in zip(sequence.ids_BN, (2, 9, 3), strict=True):
        assert row[0] == BOS and row[length - 1] == EOT and (row[length:16] == PAD).all()
    assert sequence.ids_BN[1, 1:8].tolist() == [W + 1] * 7


def test_each_row_predicts_the_next_one_where_it_has_a_weight() -> None:
    clips = codes(2)
    sequence = LAYOUT.pack([[3, 4, 5], [6]], clips)
    predicts = sequence.loss_weight_BN[:, :-1] > 0
    assert torch.equal(sequence.targets_BN[:, :-1][predicts], sequence.ids_BN[:, 1:][predicts])
    assert (sequence.targets_BN[sequence.loss_weight_BN == 0] == PAD).all()
    start = sequence.visibility.body_start
    assert torch.equal(LAYOUT.ids_to_codes(sequence.targets_BN[:, start:]), clips.flatten(1))


def test_a_dropped_text_is_the_empty_text() -> None:
    clips, texts = codes(2), [[1, 2, 3], [4]]
    dropped = LAYOUT.pack(texts, clips, drop_text=torch.tensor([True, False]))
    empty = LAYOUT.pack([[], [4]], clips)
    assert torch.equal(dropped.ids_BN, empty.ids_BN)
    assert torch.equal(dropped.visibility.prefix_B, empty.visibility.prefix_B)


def test_a_prompt_is_the_beginning_of_the_packed_sequence() -> None:
    texts = [[1, 2, 3], []]
    prompt, whole = LAYOUT.prompt(texts), LAYOUT.pack(texts, codes(2))
    rows = prompt.ids_BN.shape[1]
    assert torch.equal(prompt.ids_BN, whole.ids_BN[:, :rows])
    assert torch.equal(prompt.positions_BN3, whole.positions_BN3[:, :rows])
    assert torch.equal(LAYOUT.video_positions(0, 11), whole.positions_BN3[:, rows:])
    assert torch.equal(LAYOUT.video_positions(4, 5), whole.positions_BN3[:, rows + 4 : rows + 9])


def test_positions_count_frames_then_lines_then_columns() -> None:
    assert LAYOUT.video_positions(5, 3).tolist() == [[[13, 14, 15], [14, 13, 13], [14, 13, 14]]]
    assert LAYOUT.video_positions(6 * 100 + 4, 1).tolist() == [[[113, 14, 14]]]


def test_a_long_text_is_cut_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="cut to their first 10 tokens: see max_text_tokens"):
        cut = LAYOUT.prompt([[1] * 11, [2]])
    assert torch.equal(cut.ids_BN, LAYOUT.prompt([[1] * 10, [2]]).ids_BN)
    assert cut.visibility.prefix_B.tolist() == [12, 3]


def test_codes_and_ids_are_inverse() -> None:
    clips = codes(2)
    ids = LAYOUT.codes_to_ids(clips)
    assert int(ids.min()) >= LAYOUT.video_ids.start and int(ids.max()) < LAYOUT.video_ids.stop
    assert torch.equal(LAYOUT.ids_to_codes(ids), clips)


def test_to_moves_every_tensor() -> None:
    moved = LAYOUT.pack([[1]], codes(1)).to("meta")
    tensors = [moved.ids_BN, moved.positions_BN3, moved.targets_BN, moved.loss_weight_BN]
    assert {tensor.device.type for tensor in [*tensors, moved.visibility.prefix_B]} == {"meta"}


@pytest.mark.parametrize(
    ("texts", "clips", "message"),
    [
        ([[1]], torch.full((1, 2, 2, 3), 16), "code 16 is not below codebook_size 16"),
        ([[1]], torch.full((1, 2, 2, 3), -1), "code -1"),
        ([[10]], codes(1), "text id 10 is not below text_vocab_size 10"),
        ([[1]], codes(1).transpose(2, 3), r"shape \(1, 2, 3, 2\), the layout takes \(clips, 1 to 2, 2, 3\)"),
        ([[1]], codes(1, frames=3), r"shape \(1, 3, 2, 3\)"),
        ([[1], [2]], codes(1), "2 captions for 1 clips"),
        ([], codes(1)[:0], "no caption"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_value(texts: list[list[int]], clips: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LAYOUT.pack(texts, clips)


def test_sizes_below_the_least_are_refused() -> None:
    with pytest.raises(ValueError, match="max_text_tokens is 1; it must be 2 or more"):
        LayoutConfig(
            text_vocab_size=1,
            codebook_size=1,
            max_text_tokens=1,
            latent_frames=1,
            latent_height=1,
            latent_width=1,
        )
