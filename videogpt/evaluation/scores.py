"""Scores of a model on clips: how pictures survive the codes, how codes are predicted, how captions are followed.

Each function takes a `Pipeline` and plain data and returns numbers; none knows of files of results.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from videogpt.layouts.task import Example
from videogpt.model.likelihood import row_nats
from videogpt.pipeline.pipeline import Pipeline
from videogpt.worlds.world import World
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.clips.skipped import SkippedClips
from videogpt_tokenizer.metrics import psnr, ssim

# B clips of a batch, C colours, T frames (latent ones for codes), H/W height and width,
# N rows, V ids

BATCH = 16


class MeasuredClips(NamedTuple):
    """Clips that went through the tokenizer as floats, their codes, and how they came back."""

    records: list[ClipRecord]
    codes_BTHW: Tensor
    psnr_B: Tensor
    """dB."""
    ssim_B: Tensor
    pixels_per_clip: int
    code_counts_V: Tensor
    """How often each code occurs."""


class VideoBits(NamedTuple):
    """Length of the codes under the model, given their captions."""

    per_token: float
    per_pixel: float


@torch.inference_mode()
def encode_and_measure(pipeline: Pipeline, records: Sequence[ClipRecord], bad: SkippedClips) -> MeasuredClips:
    """The first frames of every clip through the tokenizer and back, at the size and rate that the model knows.

    Args:
        bad: is told of the clips that cannot be read or are too short; they are left out.

    Raises:
        ValueError: there are no clips, or too many that cannot be used.
    """
    if not records:
        raise ValueError("there are no clips to measure on")
    tokenizer = pipeline.model.tokenizer
    kept, codes, ratios, similarities, shape = [], [], [], [], torch.Size()
    for start in range(0, len(records), BATCH):
        good = list(_readable(pipeline, records[start : start + BATCH], bad))
        bad.check(min(start + BATCH, len(records)))
        if not good:
            continue
        kept += [record for record, _ in good]
        video = torch.stack([video_CTHW for _, video_CTHW in good])
        shape = video.shape
        codes.append(tokenizer.encode(video))
        decoded = tokenizer.decode(codes[-1])
        ratios.append(psnr(decoded, video))
        similarities.append(ssim(decoded, video))
    codes_BTHW = torch.cat(codes)
    return MeasuredClips(
        records=kept,
        codes_BTHW=codes_BTHW,
        psnr_B=torch.cat(ratios),
        ssim_B=torch.cat(similarities),
        pixels_per_clip=math.prod(shape[2:]),
        code_counts_V=torch.bincount(codes_BTHW.flatten(), minlength=tokenizer.codebook_size),
    )


@torch.inference_mode()
def video_bits(pipeline: Pipeline, clips: MeasuredClips) -> VideoBits:
    """Mean cross-entropy of the codes given the captions, without guidance."""
    model, nats = pipeline.model, 0.0
    examples = [
        Example(model.text_tokenizer.encode(record.caption), codes_THW)
        for record, codes_THW in zip(clips.records, clips.codes_BTHW, strict=True)
    ]
    for start in range(0, len(examples), BATCH):
        sequence = model.task.pack(examples[start : start + BATCH]).to(pipeline.device)
        nats_BN = row_nats(model.network, sequence, model.task.vocabulary)
        nats += float(nats_BN[:, sequence.rows_of("video")].double().sum())
    per_clip = nats / math.log(2) / len(examples)
    return VideoBits(per_clip / clips.codes_BTHW[0].numel(), per_clip / clips.pixels_per_clip)


def caption_following(
    pipeline: Pipeline, records: Sequence[ClipRecord], world: World[Any], seed: int = 0
) -> dict[str, float]:
    """Sample the caption of every clip once and have the samples read.

    Returns:
        The share of samples that have all attributes right, of all clips and of each group, and each attribute.
    """
    prompts = [world.full_caption(record, np.random.default_rng([seed, i])) for i, record in enumerate(records)]
    clips = pipeline(prompts, seed=[seed + i for i in range(len(prompts))])
    scenes = [world.scene_of(record) for record in records]
    verdicts = [world.verdict(clip.frames_THWC.numpy(), scene) for clip, scene in zip(clips, scenes, strict=True)]
    right = [all(verdict.values()) for verdict in verdicts]
    groups = [world.group(scene) for scene in scenes]
    shares = {"all attributes": _share(right)}
    for group in sorted(set(groups)):
        shares[f"all attributes, {group}"] = _share([yes for yes, of in zip(right, groups, strict=True) if of == group])
    return shares | {name: _share([verdict[name] for verdict in verdicts]) for name in verdicts[0]}


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)


def _readable(
    pipeline: Pipeline, records: Sequence[ClipRecord], bad: SkippedClips
) -> Iterator[tuple[ClipRecord, Tensor]]:
    """Clips as the tokenizer takes them (CTHW)."""
    model, frames = pipeline.model, pipeline.max_frames
    side, layout = model.tokenizer.space_stride, model.task.config
    size = (layout.latent_height * side, layout.latent_width * side)
    for record in records:
        try:
            clip = Clip.read(record.path, fps=model.fps, size=size, num_frames=frames)
            if len(clip) < frames:
                raise ValueError(
                    f"{record.path} has {len(clip)} frames at {model.fps:g} per second, {frames} are needed"
                )
        except (ValueError, OSError) as error:
            bad.add(str(record.path), error)
        else:
            yield record, clip.video_CTHW().to(pipeline.device)
