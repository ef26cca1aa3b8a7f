"""What a request gives beside its text: frames, which become the codes that a clip begins with.

    given = given_codes(request, model, latent_frames=5)         # (2, H, W) of five frames, None where nothing is given

A picture is the first frame of the clip, and the last frames of a film are those that it goes on from. Files are turned
upright, scaled to cover the model's size, cut to it, and films are resampled to its rate. Frames in memory have to be
of that size and rate. Refuses more frames than leave something to draw, and numbers of frames that codes cannot hold.
"""

from collections import deque
from pathlib import Path

import torch
from torch import Tensor

from videogpt.pipeline.request import Frames, Request
from videogpt.pipeline.saved_model import SavedModel
from videogpt_tokenizer.clips.clip import Clip

# T frames, or latent frames of codes, H/W latent grid, C colours

_FRAMES_AT_ONCE = 64
"""Of a film, however long."""


@torch.inference_mode()
def given_codes(request: Request, model: SavedModel, latent_frames: int) -> Tensor | None:
    """Codes (T, H, W), int64 on the CPU, with T below `latent_frames`; None where the request gives no frames.

    Raises:
        ValueError: frames that cannot be read, are of another size or rate, or of a number that codes cannot hold;
            nothing would be left to draw.
    """
    clip = _given_frames(request, model, latent_frames)
    if clip is None:
        return None
    video_BCTHW = clip.video_CTHW()[None].to(model.tokenizer.device)
    return model.tokenizer.encode(video_BCTHW)[0].cpu()


def _given_frames(request: Request, model: SavedModel, latent_frames: int) -> Clip | None:
    if request.image is not None:
        if latent_frames < 2:
            raise ValueError("the image is the only frame of the clip: ask for more with num_frames")
        return _read(request.image, model, "image", 1)
    if request.video is not None:
        return _last_frames(request, model, latent_frames)
    return None


def _last_frames(request: Request, model: SavedModel, latent_frames: int) -> Clip:
    """So many of the film as are asked for, or as leave at least one latent frame to draw."""
    tokenizer, asked = model.tokenizer, request.context_frames
    possible = [tokenizer.num_frames(count) for count in range(1, latent_frames)]
    if not possible or (asked is not None and asked not in possible):
        counts = ", ".join(map(str, possible)) or "none"
        what = "a video is given" if asked is None else f"context_frames is {asked}"
        raise ValueError(
            f"{what}, and a clip of {tokenizer.num_frames(latent_frames)} frames can go on from {counts} of them: "
            "choose one of these, or a longer clip"
        )
    assert request.video is not None
    clip = _read(request.video, model, "video", asked or possible[-1])
    count = asked or max((count for count in possible if count <= len(clip)), default=0)
    if len(clip) < count:
        name = "the video" if isinstance(request.video, Clip) else request.video
        raise ValueError(
            f"context_frames is {asked}, and {name} has {len(clip)} frames at {model.fps:g} a second: ask for fewer"
        )
    return Clip(clip.frames_THWC[len(clip) - count :], clip.fps)


def _read(frames: Frames, model: SavedModel, what: str, most: int) -> Clip:
    """The last frames, at most `most`, as the model takes them."""
    stride, layout = model.tokenizer.space_stride, model.task.config
    size, fps = (layout.latent_height * stride, layout.latent_width * stride), None if what == "image" else model.fps
    if not isinstance(frames, Clip):
        if what == "image":
            return Clip.read(frames, size=size, num_frames=1)
        pieces = deque[Tensor](maxlen=-(-most // _FRAMES_AT_ONCE) + 1)
        for piece in Clip.read_pieces(Path(frames), _FRAMES_AT_ONCE, size=size, fps=fps):
            pieces.append(piece.frames_THWC)
        return Clip(torch.cat(list(pieces))[-most:], model.fps)
    if (frames.height, frames.width) != size:
        raise ValueError(
            f"the {what} is {frames.height}x{frames.width} pixels, the model makes {size[0]}x{size[1]}: "
            f"read it with Clip.read(path, size={size})"
        )
    if what == "image" and len(frames) != 1:
        raise ValueError(f"the image has {len(frames)} frames: give one, or give them as a video")
    if fps is not None and abs(frames.fps - fps) > 1e-3 * fps:
        raise ValueError(
            f"the video has {frames.fps:g} frames a second, the model makes {fps:g}: "
            f"read it with Clip.read(path, fps={fps:g})"
        )
    return Clip(frames.frames_THWC[-most:], frames.fps)
