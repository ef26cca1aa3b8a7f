"""Scores of a model on clips: how pictures survive the codes, how codes are predicted, how captions are followed.

Each function takes a `Pipeline` and plain data and returns numbers; none knows of files of results.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt.evaluation.caption_following import CaptionCheck
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.clips.skipped import SkippedClips
from videogpt_tokenizer.metrics import CodebookUse, codebook_use, psnr, ssim

# B clips of a batch, C colours, T frames (latent ones for codes), H/W height and width,
# M rows that predict codes, V ids

BATCH = 16


class TokenizedClips(NamedTuple):
    """Clips, their codes and what the codes decode to."""

    records: list[ClipRecord]
    codes_BTHW: Tensor
    psnr_B: Tensor
    ssim_B: Tensor
    pixels_per_clip: int
    codebook_size: int


class ReconstructionScores(NamedTuple):
    """Means over clips."""

    psnr: float
    """dB."""
    ssim: float
    use: CodebookUse


class VideoBits(NamedTuple):
    """Length of the codes under the model, given their captions."""

    per_token: float
    per_pixel: float


@torch.inference_mode()
def tokenize(pipeline: Pipeline, records: Sequence[ClipRecord], bad: SkippedClips) -> TokenizedClips:
    """The first frames of every clip through the tokenizer and back, at the size and rate that the model knows.

    Args:
        bad: is told of the clips that cannot be read or are too short; they are left out.

    Raises:
        ValueError: there are no clips, or too many that cannot be used.
    """
    if not records:
        raise ValueError("there are no clips to measure on")
    kept, codes, ratios, similarities, shape = [], [], [], [], torch.Size()
    for start in range(0, len(records), BATCH):
        good = list(_readable(pipeline, records[start : start + BATCH], bad))
        bad.check(min(start + BATCH, len(records)))
        if not good:
            continue
        kept += [one.record for one in good]
        video = torch.stack([one.video_CTHW for one in good])
        shape = video.shape
        codes.append(pipeline.parts.tokenizer.encode(video))
        decoded = pipeline.parts.tokenizer.decode(codes[-1])
        ratios.append(psnr(decoded, video))
        similarities.append(ssim(decoded, video))
    return TokenizedClips(
        records=kept,
        codes_BTHW=torch.cat(codes),
        psnr_B=torch.cat(ratios),
        ssim_B=torch.cat(similarities),
        pixels_per_clip=math.prod(shape[2:]),
        codebook_size=pipeline.parts.tokenizer.codebook_size,
    )


def reconstruction_scores(tokens: TokenizedClips) -> ReconstructionScores:
    """PSNR, SSIM and use of the codebook."""
    counts_V = torch.bincount(tokens.codes_BTHW.flatten(), minlength=tokens.codebook_size)
    return ReconstructionScores(float(tokens.psnr_B.mean()), float(tokens.ssim_B.mean()), codebook_use(counts_V))


@torch.inference_mode()
def video_bits(pipeline: Pipeline, tokens: TokenizedClips) -> VideoBits:
    """Mean cross-entropy of the codes given the captions, without guidance."""
    parts, bits = pipeline.parts, 0.0
    captions = [record.caption for record in tokens.records]
    for start in range(0, len(tokens.records), BATCH):
        texts = [parts.text_tokenizer.encode(text) for text in captions[start : start + BATCH]]
        sequence = parts.layout.pack(texts, tokens.codes_BTHW[start : start + BATCH]).to(pipeline.device)
        rows = slice(sequence.visibility.video_start, None)
        logits_BMV = parts.model.logits(parts.model.hidden(sequence)[:, rows], parts.layout.video_ids).float()
        codes_BM = parts.layout.ids_to_codes(sequence.targets_BN[:, rows])
        bits += float(F.cross_entropy(logits_BMV.flatten(0, 1), codes_BM.flatten(), reduction="sum")) / math.log(2)
    per_clip = bits / len(captions)
    return VideoBits(per_clip / tokens.codes_BTHW[0].numel(), per_clip / tokens.pixels_per_clip)


def caption_following(
    pipeline: Pipeline, records: Sequence[ClipRecord], check: CaptionCheck, seed: int = 0
) -> dict[str, float]:
    """Sample the caption of every clip once and have the samples read.

    Returns:
        The share of samples that have all attributes right, of all clips and of each group, and each attribute.
    """
    prompts = [check.prompt(record, np.random.default_rng([seed, i])) for i, record in enumerate(records)]
    clips = pipeline(prompts, seed=[seed + i for i in range(len(prompts))])
    verdicts = [check.verdict(clip.frames_THWC.numpy(), record) for clip, record in zip(clips, records, strict=True)]
    right = [all(verdict.values()) for verdict in verdicts]
    groups = [check.group(record) for record in records]
    shares = {"all attributes": _share(right)}
    for group in sorted(set(groups)):
        shares[f"all attributes, {group}"] = _share([yes for yes, of in zip(right, groups, strict=True) if of == group])
    return shares | {name: _share([verdict[name] for verdict in verdicts]) for name in verdicts[0]}


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)


class ReadClip(NamedTuple):
    """A clip as the tokenizer takes it."""

    record: ClipRecord
    video_CTHW: Tensor


def _readable(pipeline: Pipeline, records: Sequence[ClipRecord], bad: SkippedClips) -> Iterator[ReadClip]:
    parts, frames = pipeline.parts, pipeline.max_frames
    side = parts.tokenizer.space_stride
    size = (parts.layout.config.latent_height * side, parts.layout.config.latent_width * side)
    for record in records:
        try:
            clip = Clip.read(record.path, fps=parts.fps, size=size, num_frames=frames)
            if len(clip) < frames:
                raise ValueError(
                    f"{record.path} has {len(clip)} frames at {parts.fps:g} per second, {frames} are needed"
                )
        except (ValueError, OSError) as error:
            bad.add(str(record.path), error)
        else:
            yield ReadClip(record, clip.video_CTHW().to(pipeline.device))
