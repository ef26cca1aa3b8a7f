"""Bits by an engine, latent frame by latent frame, are those of whole sequences; 8 bits change them a little."""

import pytest
import torch

from videogpt.evaluation.scores import MeasuredClips, bits_by_engine, bits_per_clip
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer.clips.folder import ClipRecord


@pytest.fixture
def clips(tmp_path) -> MeasuredClips:
    """Random codes of three captions of unequal length."""
    captions = ("a red circle moves left", "", "a blue star spins")
    records = [ClipRecord(tmp_path / f"{number}.mp4", caption) for number, caption in enumerate(captions)]
    codes_BTHW = torch.randint(75, (3, 3, 2, 3), generator=torch.Generator().manual_seed(0))
    return MeasuredClips(records, codes_BTHW, torch.zeros(3), torch.zeros(3), 1)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_an_exact_engine_has_the_bits_of_the_network(tiny_model, clips: MeasuredClips, engine: str) -> None:
    pipeline = Pipeline(tiny_model, engine=engine)
    assert bits_by_engine(pipeline, clips) == pytest.approx(bits_per_clip(pipeline, clips), rel=1e-5)


@pytest.mark.parametrize("engine", ["torch-int8-cache", "onnx-int8"])
def test_8_bits_have_a_price(tiny_model, clips: MeasuredClips, engine: str) -> None:
    pipeline = Pipeline(tiny_model, engine=engine)
    exact = bits_per_clip(pipeline, clips)
    assert 0 < abs(bits_by_engine(pipeline, clips) - exact) < 0.05 * exact
