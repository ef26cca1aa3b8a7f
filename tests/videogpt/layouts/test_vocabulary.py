"""The joint vocabulary: every id once, and no token of one modality taken for another's."""

import pytest
import torch

from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD, Vocabulary

VOCABULARY = Vocabulary({"text": 10, "video": 16})


def test_the_ids_of_specials_text_and_video_fill_the_vocabulary_once() -> None:
    ids = [PAD, BOS, BOV, *VOCABULARY.ids["text"], *VOCABULARY.ids["video"]]
    assert ids == list(range(VOCABULARY.size))
    assert VOCABULARY.ids["text"].start == EOT and len(VOCABULARY.ids["video"]) == 16


def test_a_further_modality_leaves_the_ids_of_the_others_alone() -> None:
    more = Vocabulary({"text": 10, "video": 16, "given": 16})
    assert more.size == VOCABULARY.size + 16
    assert {name: more.ids[name] for name in VOCABULARY.ids} == VOCABULARY.ids


@pytest.mark.parametrize("modality, special", [("text", [EOT]), ("video", [])])
def test_tokens_are_the_ids_of_their_modality_in_order(modality: str, special: list[int]) -> None:
    ids = VOCABULARY.ids[modality]
    assert [*special, *VOCABULARY.to_ids(modality, torch.arange(len(ids) - len(special))).tolist()] == list(ids)


@pytest.mark.parametrize("token", [-1, 16])
def test_a_token_of_another_tokenizer_is_named(token: int) -> None:
    with pytest.raises(ValueError, match=f"code {token} is not below codebook_size 16"):
        VOCABULARY.check("video", torch.tensor([3, token]), "code", "codebook_size")
