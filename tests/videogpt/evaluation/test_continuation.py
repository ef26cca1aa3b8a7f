"""Continuation: the frames behind those given are compared, and nothing else."""

import torch

from videogpt.evaluation.continuation import continuation
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.metrics import psnr


def films(random_clip, tmp_path) -> list[ClipRecord]:
    records = []
    for number in range(2):
        path = random_clip(9, 16, 24, seed=number).write(tmp_path / f"{number}.avi")
        records.append(ClipRecord(path, "a star"))
    return records


def test_drawn_and_held_frames_are_compared_with_the_true_ones(pipeline, random_clip, tmp_path, monkeypatch):
    records = films(random_clip, tmp_path)
    drawn = []
    draw = Pipeline.samples

    def kept(self, requests, **arguments):
        samples = list(draw(self, requests, **arguments))
        drawn.extend(samples)
        return iter(samples)

    monkeypatch.setattr(Pipeline, "samples", kept)
    found = continuation(pipeline, records, 5, seed=7)
    true_BCTHW = torch.stack([Clip.read(record.path).video_CTHW() for record in records])
    drawn_BCTHW = torch.stack([sample.clip.video_CTHW() for sample in drawn])
    assert [(s.request.seed, s.request.text, s.given_frames, len(s.clip)) for s in drawn] == [
        (7, "a star", 5, 9),
        (8, "a star", 5, 9),
    ]
    assert torch.allclose(found.psnr_B, psnr(drawn_BCTHW[:, :, 5:], true_BCTHW[:, :, 5:]))
    held_BCTHW = true_BCTHW[:, :, 4:5].expand(-1, -1, 4, -1, -1)
    assert torch.allclose(found.copied_B, psnr(held_BCTHW, true_BCTHW[:, :, 5:]))
