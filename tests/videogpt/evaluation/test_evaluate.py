"""Evaluation: scores are what they are called, and a folder is measured as it should be."""

import math
import shutil

import pytest
import torch

from videogpt.evaluation import evaluate
from videogpt.evaluation.scores import bits_per_clip, encode_and_measure
from videogpt.layouts.task import Example
from videogpt.worlds.writer import write_world
from videogpt_tokenizer import Clip
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.clips.skipped import SkippedClips


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    assert len(list(write_world(folder, clips=21, seed=5))) == 21
    return folder


def test_bits_are_those_of_the_logits(pipeline, clips):
    measured = encode_and_measure(pipeline, list(ClipFolder(clips))[:2], SkippedClips(2))
    assert measured.pixels_per_clip == 9 * 16 * 24
    model, total = pipeline.model, 0.0
    for record, codes_THW in zip(measured.records, measured.codes_BTHW, strict=True):
        sequence = model.task.pack([Example(model.text_tokenizer.encode(record.caption), codes_THW)])
        with torch.no_grad():
            logits_NV = model.network(sequence)[0, sequence.visibility.body_start :]
        of_video_NV = logits_NV[:, model.task.vocabulary.ids["video"].start :]
        chosen = of_video_NV.log_softmax(dim=-1).gather(1, codes_THW.reshape(-1, 1))
        total -= float(chosen.sum()) / math.log(2)
    assert bits_per_clip(pipeline, measured) == pytest.approx(total / 2, rel=1e-4)


def test_quality_of_reconstructions_agrees_with_the_definition(pipeline, clips):
    measured = encode_and_measure(pipeline, list(ClipFolder(clips))[:3], SkippedClips(3))
    video = Clip.read(ClipFolder(clips)[1].path, size=(16, 24), num_frames=9).video_CTHW()[None]
    decoded = pipeline.model.tokenizer.decode(pipeline.model.tokenizer.encode(video))
    mean_square = float((decoded - video).square().mean()) / 4
    assert float(measured.psnr_B[1]) == pytest.approx(-10 * math.log10(mean_square), abs=1e-3)


def test_evaluate_measures_a_folder_of_clips(model_folder, clips):
    values = {row.name.split(": ")[-1]: row.value for row in evaluate(model_folder, data=clips, num_clips=2).rows}
    assert {"PSNR of the tokenizer", "caption following, all attributes"} <= values.keys()
    bits_per_clip = values["bits per video token"] * 18
    assert values["bits per pixel"] == pytest.approx(bits_per_clip / (9 * 16 * 24))
    assert "seconds for one sample, model loaded" in values


def test_nothing_to_measure_is_refused(model_folder, tmp_path):
    with pytest.raises(ValueError, match="clips is 0"):
        evaluate(model_folder, num_clips=0)
    with pytest.raises(ValueError, match=str(tmp_path)):
        evaluate(model_folder, data=tmp_path)
    with pytest.raises(ValueError, match="no data is given"):
        evaluate(model_folder, sheets=tmp_path)


def test_a_bad_clip_is_left_out_and_named(pipeline, clips, tmp_path):
    records = list(ClipFolder(shutil.copytree(clips, tmp_path / "clips")))
    records[4].path.write_bytes(b"no video")
    bad = SkippedClips(21)
    measured = encode_and_measure(pipeline, records, bad)
    assert measured.records == records[:4] + records[5:] and len(measured.codes_BTHW) == 20
    assert bad.names == [str(records[4].path)]
    records[5].path.unlink()
    with pytest.raises(ValueError, match=r"2 of .* clips cannot be used.*000004.*000005"):
        encode_and_measure(pipeline, records, SkippedClips(21))
