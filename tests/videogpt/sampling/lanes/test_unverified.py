"""Lanes that check nothing: what they draw from, how many passes they take, and that nobody gets them unasked."""

import pytest
import torch
from torch import Tensor

from videogpt.layouts.guesses import with_guesses
from videogpt.layouts.task import Example
from videogpt.pipeline.pipeline import Pipeline
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import Draw
from videogpt.sampling.engines.torch_engine import TorchEngine
from videogpt.sampling.lanes.unverified import DiagonalLane, NextRowLane
from videogpt.sampling.sampler import LANES, FrameSampler, find_lane, sample_frames

TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)]]
CONFIG = SamplingConfig(temperature=0.8, guidance_scale=2.0, top_p=0.9)
UNVERIFIED = [name for name, lane in LANES.items() if not lane.exact]


def lane(model, name: str, texts=TEXTS, seed: int = 0) -> FrameSampler:
    examples, seeds = [Example(text) for text in texts], range(seed, seed + len(texts))
    return sample_frames(model.network, model.task, CONFIG, examples, seeds, 3, lane=name)


def codes(of: FrameSampler) -> Tensor:
    """BTHW."""
    return torch.stack(list(of), dim=1)


@pytest.mark.parametrize("name", UNVERIFIED)
def test_the_same_alone_and_in_a_batch(tiny_model, name: str) -> None:
    together = codes(lane(tiny_model, name))
    alone = [codes(lane(tiny_model, name, TEXTS[k : k + 1], seed=k)) for k in range(len(TEXTS))]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("kind", [NextRowLane, DiagonalLane])
def test_of_right_guesses_the_codes_are_the_exact_ones(tiny_model, kind, monkeypatch) -> None:
    """What is read in place of unknown codes is all that is approximate."""
    expected_BN = codes(lane(tiny_model, "eager", TEXTS[:1])).flatten(1)
    monkeypatch.setattr(kind, "_guess", lambda self, tokens, number: int(expected_BN[0, number]))
    found = lane(tiny_model, kind.name, TEXTS[:1])
    assert torch.equal(codes(found).flatten(1), expected_BN)


def test_of_a_line_next_row_reads_what_training_gives_it_as_guesses(tiny_model, monkeypatch) -> None:
    """And of earlier lines the codes, which are drawn as told here."""
    codes_M = torch.randint(75, (18,))
    codes_THW, lines_TH = codes_M.reshape(3, 2, 3), torch.ones(3, 2, dtype=torch.bool)
    expected_M = with_guesses(codes_THW, lines_TH, tiny_model.task.raster).flatten()
    read, draw, guessed = NextRowLane._read, Draw.__call__, []

    def check(self, tokens_RM: Tensor, positions_RM3: Tensor, starts_R: list[int]) -> Tensor:
        start, drawn = starts_R[0], self.drawn
        stop = start + tokens_RM.shape[1]
        expected = torch.cat([codes_M[start:drawn], expected_M[drawn:stop]])
        assert torch.equal(tokens_RM, expected.expand(len(tokens_RM), -1))
        guessed.extend(range(drawn, stop))
        return read(self, tokens_RM, positions_RM3, starts_R)

    def told(self, found: Tensor, places_BM: list[list[int]]) -> Tensor:
        draw(self, found, places_BM)
        return codes_M[torch.tensor(places_BM)]

    monkeypatch.setattr(NextRowLane, "_read", check)
    monkeypatch.setattr(Draw, "__call__", told)
    assert torch.equal(codes(lane(tiny_model, "next-row", TEXTS[:1])), codes_THW[None])
    different = [number for number in range(18) if number not in guessed]
    assert different == [0, 2, 5, 8, 11, 14, 17], "the first code, and the last of every line, are read as drawn"
    assert torch.equal(expected_M[different], codes_M[different])


def test_a_line_takes_one_pass(tiny_model) -> None:
    found = lane(tiny_model, "next-row")
    codes(found)
    assert found.lane.passes == 1 + 3 * 2, "the prompt, then 3 frames of 2 lines"


def test_a_frame_takes_as_many_passes_as_it_has_diagonals_at_most(tiny_model) -> None:
    found = lane(tiny_model, "diagonal")
    codes(found)
    assert found.lane.passes <= 1 + 3 * (2 + 3 - 1)


def test_the_last_diagonal_sees_all_codes_before_it(tiny_model) -> None:
    """The last code of a frame is the one that the eager lane draws after the others."""
    found_BTHW = codes(lane(tiny_model, "diagonal", TEXTS[:1]))
    examples = [Example(TEXTS[0]), Example([])]
    prompt = tiny_model.task.prompt(examples, 3)
    ids_1N = tiny_model.task.vocabulary.to_ids("video", found_BTHW.flatten(1))
    decoding = TorchEngine(tiny_model.network).start(prompt.given, 17)
    hidden_RMD = decoding.step(ids_1N[:, :-1].expand(2, -1), prompt.positions_1M3[:, :-1], [0, 0])
    draw = Draw(CONFIG, [0], 75, 3, torch.device("cpu"))
    logits = tiny_model.network.logits(hidden_RMD, tiny_model.task.vocabulary.ids["video"])
    for place in (5, 11, 17):
        assert int(draw(logits[:, place - 1 : place], [[place]])) == int(found_BTHW.flatten()[place])


def test_nobody_gets_them_unasked_and_samples_say_so(tiny_model) -> None:
    assert find_lane("auto", tiny_model.network, TorchEngine(tiny_model.network)) not in UNVERIFIED
    pipeline = Pipeline(tiny_model)
    for name in ("jacobi", *UNVERIFIED):
        (sample,) = pipeline.samples("a red circle", lane=name)
        assert sample.exact == (name == "jacobi")
    (sample,) = pipeline.samples("a red circle", engine="onnx-int8")
    assert not sample.exact
