"""Streaming: a file plays while it is drawn, ends as the clip of the call, and an interrupt loses that clip alone."""

import json
from pathlib import Path

import av
import pytest

from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.request import Request
from videogpt.pipeline.sample_files import SampleWriter
from videogpt.pipeline.streaming import stream_samples
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.write import GrowingMovie

REQUESTS = [Request(text="a red circle", seed=1), Request(text="a star", seed=2, num_frames=5)]


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_can_be_played_while_it_is_drawn(tiny_model, tmp_path, monkeypatch):
    pipeline, seen = Pipeline(tiny_model, batch_size=1), []
    write = GrowingMovie.write

    def watched(self: GrowingMovie, frames_THWC) -> None:
        write(self, frames_THWC)
        seen.append((self.path.name, frames_in(self.path)))

    monkeypatch.setattr(GrowingMovie, "write", watched)
    begun: list[Path] = []
    samples = list(stream_samples(pipeline, REQUESTS, SampleWriter(tmp_path), begun=begun.append))
    names = [path.name for path in begun]
    assert names == ["0001-a-red-circle-s1.mp4", "0002-a-star-s2.mp4"]
    assert seen == [(names[0], 0), (names[0], 4), (names[0], 8), (names[1], 0), (names[1], 4)]
    for path, sample, whole in zip(begun, samples, Pipeline(tiny_model)(REQUESTS), strict=True):
        assert (sample.clip.frames_THWC.int() - whole.frames_THWC.int()).abs().max() <= 1
        grown, written = Clip.read(path), Clip.read(sample.clip.write(tmp_path / "again.mp4"))
        assert len(grown) == len(sample.clip) and grown.fps == 8
        true_THWC = sample.clip.frames_THWC.float()
        losses = [(clip.frames_THWC.float() - true_THWC).abs().mean() for clip in (grown, written)]
        assert losses[0] < 1.5 * losses[1], "compressed about as well"
        assert json.loads(path.with_suffix(".json").read_text())["prompt"] == sample.request.text


def test_an_interrupt_loses_the_clip_that_is_drawn_and_no_other(tiny_model, tmp_path, monkeypatch):
    write, calls = GrowingMovie.write, []

    def failing(self: GrowingMovie, frames_THWC) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        write(self, frames_THWC)

    monkeypatch.setattr(GrowingMovie, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        list(stream_samples(Pipeline(tiny_model, batch_size=1), REQUESTS, SampleWriter(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001-a-red-circle-s1.json", "0001-a-red-circle-s1.mp4"]


def test_the_command_streams_and_refuses_other_formats(videogpt, model_folder, tmp_path):
    command = ["sample", "a star", "a circle", "--model", model_folder, "--output", tmp_path / "out", "--stream"]
    said = videogpt(*command)
    assert said.out.count(".mp4") == 2 and len(list((tmp_path / "out").glob("*.json"))) == 2
    assert "only mp4 plays while it grows" in videogpt(*command, "--format", "gif", code=2).err
    with pytest.raises(ValueError, match="batch_size is 16; to stream, make the pipeline with batch_size=1"):
        list(stream_samples(Pipeline.from_pretrained(model_folder), REQUESTS, SampleWriter(tmp_path)))
