"""Does a model know how a film goes on? The next frames that it draws, against the true ones.

    found = continuation(pipeline, records, context_frames=5)
    found.psnr_B.mean(), found.copied_B.mean()                     # drawn, and the last frame that was given, held

The model is given the first frames of a clip and its caption, and draws one latent frame more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import repeat
from torch import Tensor

from videogpt.evaluation.scores import BATCH, read_CTHW
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.request import Request
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord
from videogpt_tokenizer.metrics import psnr

# B clips, C colours, T frames, H/W height and width


class Continuation(NamedTuple):
    """How near the frames behind those given come to the true ones, in dB."""

    psnr_B: Tensor
    copied_B: Tensor
    """Of the last frame given in place of each."""


def continuation(pipeline: Pipeline, records: Sequence[ClipRecord], context_frames: int, seed: int = 0) -> Continuation:
    """Measured on frames `context_frames` to `context_frames + time_stride - 1` of each clip; sample i has seed + i.

    Raises:
        ValueError: `context_frames` frames are not whole latent frames, or the model makes no longer clip.
    """
    end = context_frames + pipeline.model.tokenizer.time_stride
    drawn, copied = [], []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        video_BCTHW = torch.stack([read_CTHW(pipeline, record.path)[:, :end] for record in batch])
        requests = [
            Request(
                text=record.caption,
                video=Clip.from_video(video_CTHW[:, :context_frames], pipeline.model.fps),
                context_frames=context_frames,
                num_frames=end,
                seed=seed + start + index,
            )
            for index, (record, video_CTHW) in enumerate(zip(batch, video_BCTHW, strict=True))
        ]
        clips = torch.stack([clip.video_CTHW() for clip in pipeline(requests)])
        last_BCTHW = repeat(video_BCTHW[:, :, context_frames - 1], "b c h w -> b c t h w", t=end - context_frames)
        true_BCTHW = video_BCTHW[:, :, context_frames:]
        drawn.append(psnr(clips[:, :, context_frames:], true_BCTHW))
        copied.append(psnr(last_BCTHW, true_BCTHW))
    return Continuation(torch.cat(drawn), torch.cat(copied))
