"""Infill: where given codes stand, that they are forced and not learned, and that lanes and batches agree on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.infill import Infill
from videogpt.layouts.task import TO_DRAW, Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import sample_frames

SIZES = {"latent_frames": 2, "latent_height": 2, "latent_width": 3}
CONFIG = LayoutConfig(text_vocab_size=10, codebook_size=16, max_text_tokens=12, prefix_codes=("given",), **SIZES)
TASK = Infill(CONFIG)
W, V, G = 5, 14, 30
"""Ids of text token 1, of code 0, and of code 0 where it is given."""


def clip(seed: int = 0) -> Tensor:
    return torch.randint(16, (2, 2, 3), generator=torch.Generator().manual_seed(seed))


def hide(codes_THW: Tensor, *places: int) -> Tensor:
    """Codes with these places of the scan hidden."""
    hidden = codes_THW.clone()
    hidden.view(-1)[list(places)] = TO_DRAW
    return hidden


def test_given_codes_have_ids_of_their_own_behind_all_others() -> None:
    plain = TextToVideo(replace(CONFIG, prefix_codes=())).vocabulary
    assert TASK.vocabulary.ids == plain.ids and "given" not in TASK.vocabulary.ids
    assert TASK.vocabulary.size == plain.size + 16
    assert int(TASK.vocabulary.to_ids("given", torch.tensor(0))) == G == plain.size
    assert CONFIG.settings()["prefix_codes"] == ("given",) and "prefix_codes" not in plain_settings()


def plain_settings() -> dict[str, object]:
    return replace(CONFIG, prefix_codes=()).settings()


def test_every_row_of_a_packed_sequence_by_hand() -> None:
    codes = torch.arange(12).reshape(2, 2, 3)
    shown = hide(codes, *range(2, 11))  # the first two codes are given, and the last
    sequence = TASK.pack([Example([1], codes, prefix_codes={"given": shown})])
    body = [*range(V, V + 12)]
    assert sequence.ids_BN.tolist() == [[BOS, W, EOT, G, G + 1, G + 11, PAD, PAD, BOV, *body[:-1]]]
    assert sequence.targets_BN.tolist() == [[W, EOT, *[PAD] * 6, PAD, PAD, *body[2:11], PAD]]
    assert sequence.loss_weight_BN.flatten().tolist() == pytest.approx([0.1] * 2 + [0] * 8 + [1.0] * 9 + [0])
    assert sequence.positions_BN3[0, 3:6].tolist() == [[13, 13, 13], [13, 13, 14], [14, 14, 15]]
    video = sequence.positions_BN3[0, 9:]
    assert torch.equal(sequence.positions_BN3[0, 3:5], video[:2]), "a given code stands at its place in the scan"
    assert (sequence.visibility.prefix_B.tolist(), sequence.visibility.body_start) == ([6], 8)


def test_every_code_that_is_hidden_is_predicted_once_and_no_other() -> None:
    for seed in range(20):
        example = TASK.shown(Example([1, 2], clip(seed)), np.random.default_rng(seed))
        hidden = (example.prefix_codes["given"] == TO_DRAW).flatten()
        assert hidden.any() and not hidden.all()
        for without_padding in (False, True):
            sequence = TASK.pack([example], without_padding=without_padding)
            rows = sequence.rows_of("video")
            learned = sequence.loss_weight_BN[0, rows] > 0
            assert torch.equal(learned, hidden)
            assert torch.equal(sequence.targets_BN[0, rows][learned] - V, clip(seed).flatten()[hidden])


def test_a_row_sees_all_that_is_given_and_nothing_that_is_hidden() -> None:
    network = tiny_network()
    codes = clip()
    example = Example([1], codes, prefix_codes={"given": hide(codes, 4, 5, 6)})
    before = network.hidden(TASK.pack([example]))
    other = codes.clone()
    other.view(-1)[5] = (other.view(-1)[5] + 1) % 16
    hidden_changed = network.hidden(TASK.pack([example._replace(codes_THW=other)]))
    first = TASK.pack([example]).spans[1].start
    assert torch.allclose(before[:, : first + 6], hidden_changed[:, : first + 6]), "a row saw what it is to predict"
    other = codes.clone()
    other.view(-1)[11] = (other.view(-1)[11] + 1) % 16  # given, and far behind
    given_changed = Example([1], other, prefix_codes={"given": hide(other, 4, 5, 6)})
    assert not torch.allclose(before[:, first + 4], network.hidden(TASK.pack([given_changed]))[:, first + 4], atol=1e-4)


def tiny_network() -> VideoGPT:
    torch.manual_seed(0)
    config = VideoGPTConfig(vocab_size=TASK.vocabulary.size, width=32, depth=2, heads=2, kv_heads=1)
    return VideoGPT(config).eval()


@torch.inference_mode()
def draw(examples: list[Example], lane: str = "eager", seeds: list[int] | None = None, scale: float = 2.0) -> Tensor:
    sampling = SamplingConfig(guidance_scale=scale)
    seeds = seeds or list(range(len(examples)))
    return torch.stack(list(sample_frames(tiny_network(), TASK, sampling, examples, seeds, 2, lane=lane)), dim=1)


def requests() -> list[Example]:
    """One that gives nothing, one a side, one all but one code."""
    given = [{"given": hide(clip(1), 0, 1, 2, 6, 7, 8)}, {"given": hide(clip(2), 7)}]
    return [Example([1, 2]), *(Example([3], prefix_codes=codes) for codes in given)]


def test_given_codes_come_back_and_the_rest_is_drawn() -> None:
    drawn = draw(requests())
    for found, example in zip(drawn[1:], requests()[1:], strict=True):
        known = example.prefix_codes["given"]
        assert torch.equal(found[known != TO_DRAW], known[known != TO_DRAW])
    assert len({tuple(draw(requests()[1:2], seeds=[seed]).flatten().tolist()) for seed in range(5)}) > 1


def test_alone_is_as_in_a_batch() -> None:
    together = draw(requests())
    for number, example in enumerate(requests()):
        assert torch.equal(draw([example], seeds=[number])[0], together[number])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_jacobi_lane_equals_the_plain_one(scale: float) -> None:
    assert torch.equal(draw(requests(), "jacobi", scale=scale), draw(requests(), scale=scale))


def test_guidance_leaves_what_is_given() -> None:
    example = requests()[1]
    assert example.without_text().prefix_codes is example.prefix_codes


def test_what_the_layout_cannot_hold_is_refused() -> None:
    plain = replace(CONFIG, prefix_codes=())
    with pytest.raises(ValueError, match="the layout has no ids for given codes, which task infill reads"):
        Infill(plain)
    with pytest.raises(ValueError, match="given codes stand before the clip, and the model knows none"):
        TextToVideo(plain).prompt([Example([1], prefix_codes={"given": clip()})], 2)
    for kinds in (("seen",), ("given", "given")):
        with pytest.raises(ValueError, match=f"prefix_codes is .*{kinds[0]}.*: choose of given, each once"):
            replace(CONFIG, prefix_codes=kinds)
    for codes, message in [(clip()[:, :1], "given codes are of shape"), (clip() + 16, "is not below codebook_size")]:
        with pytest.raises(ValueError, match=message):
            TASK.prompt([Example([1], prefix_codes={"given": codes})], 2)
