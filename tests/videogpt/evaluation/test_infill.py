"""Infill: what was hidden is compared with the true pixels, and with copying and blending."""

import torch

from videogpt.evaluation.infill import infill
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.metrics import psnr


def test_hidden_pixels_are_compared_and_no_others(tiny_model_of_tasks, random_clip, tmp_path, monkeypatch):
    clips = [random_clip(9, 16, 24, seed=number) for number in range(2)]
    records = [ClipRecord(clip.write(tmp_path / f"{n}.avi"), "a star") for n, clip in enumerate(clips)]
    true = torch.stack([Clip.read(record.path).video_CTHW() for record in records])
    drawn = []
    draw = Pipeline.samples

    def kept(self, requests, **arguments):
        samples = list(draw(self, requests, **arguments))
        drawn.append(torch.stack([sample.clip.video_CTHW() for sample in samples]))
        assert [sample.request.seed for sample in samples] == [7, 8]
        return iter(samples)

    monkeypatch.setattr(Pipeline, "samples", kept)
    half, between = infill(Pipeline(tiny_model_of_tasks), records, seed=7)
    # 3 latent frames: frames 1 to 4 are hidden, from column 8 on; then all of them.
    assert torch.allclose(half.psnr_B, psnr(drawn[0][:, :, 1:5, :, 8:], true[:, :, 1:5, :, 8:]))
    assert torch.allclose(between.psnr_B, psnr(drawn[1][:, :, 1:5], true[:, :, 1:5]))
    nearest = true[:, :, [0, 0, 5, 5]]
    assert torch.allclose(half.rival_B, psnr(nearest[..., 8:], true[:, :, 1:5, :, 8:]))
    blended = torch.stack([torch.lerp(true[:, :, 0], true[:, :, 5], step / 5) for step in range(1, 5)], dim=2)
    assert torch.allclose(between.rival_B, psnr(blended, true[:, :, 1:5]))
