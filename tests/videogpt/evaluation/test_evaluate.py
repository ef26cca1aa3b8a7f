"""Evaluation: reports say where figures come from, scores are what they are called."""

import json
import math

import numpy as np
import pytest
import torch

from videogpt import LayoutConfig, Pipeline, VideoGPT, VideoGPTConfig
from videogpt.evaluation import Report, evaluate
from videogpt.evaluation.caption_following import find_world
from videogpt.evaluation.scores import caption_following, encode_and_measure, video_bits
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.pipeline.saved_model import SavedModel
from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.scene import Scene
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt.worlds.writer import write_world
from videogpt_tokenizer import Clip, TextTokenizer, VideoTokenizer
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.skipped import SkippedClips
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    assert len(list(write_world(folder, clips=3, seed=5))) == 3
    return folder


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    torch.manual_seed(0)
    autoencoder = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=autoencoder, quantizer=QuantizerConfig(levels=(4, 4))))
    text_tokenizer = TextTokenizer.train(["a red circle moves left"], vocab_size=300)
    task = TextToVideo(
        LayoutConfig(
            text_vocab_size=text_tokenizer.vocab_size,
            codebook_size=16,
            latent_frames=5,
            latent_height=8,
            latent_width=8,
        )
    )
    model = VideoGPT(VideoGPTConfig(vocab_size=task.vocabulary.size, width=16, depth=1, heads=2, kv_heads=1))
    saved = SavedModel(tokenizer=tokenizer, text_tokenizer=text_tokenizer, task=task, network=model, fps=8.0)
    return Pipeline(saved, name="tiny")


def test_a_report_carries_its_protocol(tmp_path):
    report = Report.start("some command", protocol={"clips": 3})
    report.add("time", 2.0, "s", rival="eager", rival_value=3.0)
    report.add("rate", 2.0, "1/s", rival="eager", rival_value=3.0, lower_is_better=False)
    report.write(tmp_path / "new" / "report.json")
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(content) == {"command", "hardware", "versions", "protocol", "rows"}
    assert content["rows"][0]["ratio"] == pytest.approx(1.5) and content["rows"][1]["ratio"] == pytest.approx(2 / 3)
    assert content["hardware"]["cores"] and content["versions"]["torch"]
    assert "| time | 2 s | eager: 3 s | 1.50 |" in report.table()


def test_bits_are_those_of_the_logits(pipeline, clips):
    tokens = encode_and_measure(pipeline, list(ClipFolder(clips))[:2], SkippedClips(2))
    model = pipeline.model
    total = 0.0
    for record, codes_THW in zip(tokens.records, tokens.codes_BTHW, strict=True):
        sequence = model.task.pack([Example(model.text_tokenizer.encode(record.caption), codes_THW)])
        with torch.no_grad():
            logits = model.network(sequence)[
                0, sequence.visibility.body_start :, model.task.vocabulary.ids["video"].start :
            ]
        chosen = logits.log_softmax(dim=-1).gather(1, codes_THW.reshape(-1, 1))
        total -= float(chosen.sum()) / math.log(2)
    bits = video_bits(pipeline, tokens)
    assert bits.per_token == pytest.approx(total / (2 * 320), rel=1e-4)
    assert bits.per_pixel == pytest.approx(total / (2 * 17 * 64 * 64), rel=1e-4)


def test_quality_of_reconstructions_agrees_with_the_definition(pipeline, clips):
    tokens = encode_and_measure(pipeline, list(ClipFolder(clips)), SkippedClips(3))
    video = Clip.read(ClipFolder(clips)[1].path).video_CTHW()[None]
    decoded = pipeline.model.tokenizer.decode(pipeline.model.tokenizer.encode(video))
    mean_square = float((decoded - video).square().mean()) / 4
    assert float(tokens.psnr_B[1]) == pytest.approx(-10 * math.log10(mean_square), abs=1e-3)


def test_caption_following_is_perfect_for_a_perfect_model(pipeline, clips, monkeypatch):
    records = list(ClipFolder(clips))
    world = find_world(records)
    assert isinstance(world, ShapesWorld)
    scenes = [Scene.from_json(record.fields["scene"]) for record in records]
    perfect = [Clip(torch.from_numpy(render(scene)), 8.0) for scene in scenes]
    monkeypatch.setattr(Pipeline, "__call__", lambda *_, **__: perfect)
    shares = caption_following(pipeline, records, world)
    assert set(shares.values()) == {1.0}
    assert {f"all attributes, {world.group(world.scene_of(record))}" for record in records} <= shares.keys()
    black = Clip(torch.from_numpy(np.zeros((17, 64, 64, 3), np.uint8)), 8.0)
    monkeypatch.setattr(Pipeline, "__call__", lambda *_, **__: [black] * 3)
    assert caption_following(pipeline, records, world)["all attributes"] == 0.0


def test_evaluate_measures_a_folder_of_clips(pipeline, clips, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    report = evaluate(tmp_path / "model", data=clips, num_clips=2)
    names = {row.name.split(": ")[-1] for row in report.rows}
    assert {"PSNR of the tokenizer", "bits per video token", "caption following, all attributes"} <= names
    assert "seconds for one sample, model loaded" in names


def test_nothing_to_measure_is_refused(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="clips is 0"):
        evaluate(tmp_path / "model", num_clips=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        evaluate(tmp_path / "model", data=tmp_path / "empty")
    with pytest.raises(ValueError, match="no data is given"):
        evaluate(tmp_path / "model", sheets=tmp_path)


def test_a_bad_clip_is_left_out_and_named(pipeline, tmp_path):
    assert len(list(write_world(tmp_path / "clips", clips=21, seed=5))) == 21
    records = list(ClipFolder(tmp_path / "clips"))
    records[4].path.write_bytes(b"no video")
    bad = SkippedClips(21)
    tokens = encode_and_measure(pipeline, records, bad)
    assert tokens.records == records[:4] + records[5:] and len(tokens.codes_BTHW) == 20
    assert bad.names == [str(records[4].path)]
    records[5].path.unlink()
    with pytest.raises(ValueError, match=r"2 of .* clips cannot be used.*000004.*000005"):
        encode_and_measure(pipeline, records, SkippedClips(21))
