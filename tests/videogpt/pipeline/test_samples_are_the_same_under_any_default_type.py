"""A loaded model samples the same whatever the program's default type is, and works when it is converted."""

import pytest
import torch

from videogpt.pipeline.pipeline import Pipeline

TYPES = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_loaded_under_another_default_type(dtype, model_folder) -> None:
    (wanted,) = Pipeline.from_pretrained(model_folder, "cpu")("a red circle", seed=3)
    torch.set_default_dtype(dtype)
    try:
        pipeline = Pipeline.from_pretrained(model_folder, "cpu")
        (found,) = pipeline("a red circle", seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found.frames_THWC, wanted.frames_THWC)
    assert next(pipeline.model.network.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_converted(dtype, model_folder, tmp_path) -> None:
    pipeline = Pipeline.from_pretrained(model_folder, "cpu")
    (wanted,) = pipeline("a red circle", seed=3)
    pipeline.model.network.to(dtype)
    pipeline.model.tokenizer.to(dtype)
    (found,) = pipeline("a red circle", seed=3)
    assert found.frames_THWC.shape == wanted.frames_THWC.shape and len(pipeline.fingerprint()) == 64
    pipeline.save_pretrained(tmp_path / "model")
    again = Pipeline.from_pretrained(tmp_path / "model", "cpu")
    assert next(again.model.network.parameters()).dtype == torch.float32
