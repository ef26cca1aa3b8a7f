"""Scores of a model on clips: how pictures survive the codes, and how codes are predicted.

clips = encode_and_measure(pipeline, records, SkippedClips(len(records)))
clips.psnr_B.mean(), bits_per_clip(pipeline, clips)
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt.layouts.task import Example
from videogpt.model.likelihood import row_nats
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.clips.skipped import SkippedClips, UnreadableClipError
from videogpt_tokenizer.metrics import psnr, ssim

# B clips of a batch, C colours, T frames (latent ones for codes), H/W height and width, N rows

BATCH = 16


class MeasuredClips(NamedTuple):
    """Clips that went through the tokenizer as floats, their codes, and how they came back."""

    records: list[ClipRecord]
    codes_BTHW: Tensor
    psnr_B: Tensor
    """dB."""
    ssim_B: Tensor
    pixels_per_clip: int


@torch.inference_mode()
def encode_and_measure(pipeline: Pipeline, records: Sequence[ClipRecord], bad: SkippedClips) -> MeasuredClips:
    """The first frames of every clip through the tokenizer and back, at the size and rate that the model knows.

    `bad` takes the clips that cannot be read or are too short. ValueError: there are no clips, or too many such.
    """
    if not records:
        raise ValueError("there are no clips to measure on")
    tokenizer = pipeline.model.tokenizer
    kept, codes, ratios, similarities, shape = [], [], [], [], torch.Size()
    for start in range(0, len(records), BATCH):
        videos = []
        for record in records[start : start + BATCH]:
            try:
                videos.append(read_CTHW(pipeline, record.path))
                kept.append(record)
            except UnreadableClipError as error:
                bad.add(str(record.path), error)
        bad.check(min(start + BATCH, len(records)))
        if not videos:
            continue
        video_BCTHW = torch.stack(videos).to(pipeline.device)
        shape = video_BCTHW.shape
        codes.append(tokenizer.encode(video_BCTHW))
        decoded_BCTHW = tokenizer.decode(codes[-1])
        ratios.append(psnr(decoded_BCTHW, video_BCTHW))
        similarities.append(ssim(decoded_BCTHW, video_BCTHW))
    return MeasuredClips(kept, torch.cat(codes), torch.cat(ratios), torch.cat(similarities), math.prod(shape[2:]))


@torch.inference_mode()
def bits_per_clip(pipeline: Pipeline, clips: MeasuredClips) -> float:
    """Mean length of a clip's codes under the model, given their caption, without guidance."""
    model, nats, examples = pipeline.model, 0.0, _examples(pipeline, clips)
    for start in range(0, len(examples), BATCH):
        sequence = model.task.pack(examples[start : start + BATCH]).to(pipeline.device)
        nats_BN = row_nats(model.network, sequence, model.task.vocabulary)
        nats += float(nats_BN[:, sequence.rows_of("video")].double().sum())
    return nats / math.log(2) / len(examples)


@torch.inference_mode()
def bits_by_engine(pipeline: Pipeline, clips: MeasuredClips) -> float:
    """The same by the pipeline's engine, as in sampling: what is given, then a latent frame of codes in each pass."""
    model, engine, nats, examples = pipeline.model, pipeline.engine(), 0.0, _examples(pipeline, clips)
    video, raster = model.task.vocabulary.ids["video"], model.task.raster
    for start in range(0, len(examples), BATCH):
        batch = examples[start : start + BATCH]
        codes_BTHW = torch.stack([example.codes_THW for example in batch if example.codes_THW is not None])
        prompt = model.task.prompt(batch, codes_BTHW.shape[1])
        codes_BM = raster.flatten(codes_BTHW)[:, torch.tensor(prompt.places, device=codes_BTHW.device)]
        ids_BM, positions_1M3 = video.start + codes_BM, prompt.positions_1M3.to(codes_BM.device)
        decoding = engine.start(prompt.given, len(prompt.places) - 1)
        hidden = [decoding.hidden_RMD[:, -1:]]
        for first in range(0, len(prompt.places) - 1, raster.frame_tokens):
            rows = slice(first, min(first + raster.frame_tokens, len(prompt.places) - 1))
            hidden.append(decoding.step(ids_BM[:, rows], positions_1M3[:, rows], [first] * len(batch)).clone())
        nats += float(model.network.nats(torch.cat(hidden, dim=1), codes_BM, video).double().sum())
    return nats / math.log(2) / len(examples)


def _examples(pipeline: Pipeline, clips: MeasuredClips) -> list[Example]:
    return [
        Example(pipeline.model.text_tokenizer.encode(record.caption), codes_THW)
        for record, codes_THW in zip(clips.records, clips.codes_BTHW, strict=True)
    ]


def read_CTHW(pipeline: Pipeline, path: Path) -> Tensor:
    """The first frames of a clip as the model knows them; UnreadableClipError where there are too few."""
    model, frames = pipeline.model, pipeline.max_frames
    clip = Clip.read(path, fps=model.fps, size=model.size, num_frames=frames)
    if len(clip) < frames:
        raise UnreadableClipError(f"{path}: has {len(clip)} frames at {model.fps:g} per second, {frames} are needed")
    return clip.video_CTHW()
