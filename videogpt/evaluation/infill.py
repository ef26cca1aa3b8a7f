"""Can a model fill in what is hidden of a film? Its pixels inside a mask, against the true ones.

    half, between = infill(pipeline, records)
    half.psnr_B.mean(), half.rival_B.mean()

The first and the last latent frame of a clip are shown; between them its right half is hidden, or all of the picture.
What a program without a model would do is the rival: copy the nearest frame that is shown, or blend the two linearly.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt.evaluation.scores import BATCH, read_CTHW
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.request import Request
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.metrics import psnr

# B clips, C colours, T frames, H/W height and width


class Filled(NamedTuple):
    """How near the hidden pixels come to the true ones, in dB."""

    psnr_B: Tensor
    rival_B: Tensor


def infill(pipeline: Pipeline, records: Sequence[ClipRecord], seed: int = 0) -> tuple[Filled, Filled]:
    """Right half against the nearest frame copied, then the whole picture against blending; sample i has seed + i.

    ValueError: the model was not trained for it. It has three latent frames or more, two codes wide or more.
    """
    tokenizer, layout = pipeline.model.tokenizer, pipeline.model.task.config
    end = tokenizer.num_frames(layout.latent_frames - 1)
    hidden = slice(tokenizer.first_frames, end)
    half = tokenizer.space_stride * (layout.latent_width // 2)
    halves, wholes = [], []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        true_BCTHW = torch.stack([read_CTHW(pipeline, record.path) for record in batch])
        seeds = [seed + start + number for number in range(len(batch))]
        step_T = (torch.arange(hidden.start, end) - hidden.start + 1) / (end - hidden.start + 1)
        before, after = true_BCTHW[:, :, hidden.start - 1 : hidden.start], true_BCTHW[:, :, end : end + 1]
        copied = torch.where((step_T <= 0.5)[:, None, None], before, after)
        blended = torch.lerp(before, after, step_T[:, None, None])
        for found, first, rival in ((halves, half, copied), (wholes, 0, blended)):
            drawn = _drawn(pipeline, batch, true_BCTHW, hidden, first, seeds)[:, :, hidden, :, first:]
            true = true_BCTHW[:, :, hidden, :, first:]
            found.append((psnr(drawn, true), psnr(rival[..., first:], true)))
    one, other = (Filled(*(torch.cat(values) for values in zip(*found, strict=True))) for found in (halves, wholes))
    return one, other


def _drawn(
    pipeline: Pipeline, batch: Sequence[ClipRecord], video_BCTHW: Tensor, hidden: slice, first: int, seeds: list[int]
) -> Tensor:
    """The clips (B, C, T, H, W), drawn anew in these frames from this column on."""
    clips = [Clip.from_video(video_CTHW, pipeline.model.fps) for video_CTHW in video_BCTHW]
    mask_THWC = torch.zeros_like(clips[0].frames_THWC)
    mask_THWC[hidden, :, first:] = 255
    mask = Clip(mask_THWC, pipeline.model.fps)
    requests = [
        Request(text=record.caption, video=clip, mask=mask, seed=seed)
        for record, clip, seed in zip(batch, clips, seeds, strict=True)
    ]
    return torch.stack([clip.video_CTHW() for clip in pipeline(requests)])
