"""What a request gives beside its text: frames, which become codes of the clip.

    given = given_codes(request, model, latent_frames=5)
    Example(text, given.codes_THW, prefix_codes=given.prefix_codes)

A picture is the first frame of the clip, and the last frames of a film are those that it goes on from; with a mask a
film is the clip itself, but for what is white. Files are turned upright, scaled to cover the model's size and cut to
it, and films are resampled to its rate; frames in memory have to be of that size and rate. A code is hidden where a
mask hides any of its pixels, which is said where it hides more. Refuses more frames than leave something to draw,
numbers of frames that codes cannot hold, and masks of another size than the film.
"""

import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt.layouts.masks import cells_of, pixels_of
from videogpt.layouts.task import TO_DRAW
from videogpt.pipeline.request import Frames, Request
from videogpt.pipeline.saved_model import SavedModel
from videogpt_tokenizer.clips.clip import Clip

# T frames, or latent frames of codes, H/W height and width, of codes their grid

_FRAMES_AT_ONCE = 64
"""Of a film, however long."""
_WHITE = 32
"""Levels from which a pixel of a mask is white, once it is scaled: thin lines are not lost, what a JPEG adds is."""


class Given(NamedTuple):
    """What an `Example` takes, and how many frames of the clip's beginning that makes."""

    codes_THW: Tensor | None = None
    prefix_codes: Mapping[str, Tensor] = MappingProxyType({})
    frames: int = 0


@torch.inference_mode()
def given_codes(request: Request, model: SavedModel, latent_frames: int) -> Given:
    """Codes of what is given, on the CPU.

    Raises:
        ValueError: frames that cannot be read, are of another size or rate, or of a number that codes cannot hold;
            nothing would be left to draw, or nothing is given by a mask.
    """
    if request.mask is not None:
        return Given(prefix_codes={"given": _codes_outside(request, model, latent_frames)})
    if request.image is not None:
        if latent_frames < 2:
            raise ValueError("the image is the only frame of the clip: ask for more with num_frames")
        clip = _still(request.image, model)
    elif request.video is not None:
        clip = _last_frames(request.video, request.context_frames, model, latent_frames)
    else:
        return Given()
    return Given(_encoded(clip, model), frames=len(clip))


def _encoded(clip: Clip, model: SavedModel) -> Tensor:
    return model.tokenizer.encode(clip.video_CTHW()[None].to(model.tokenizer.device))[0].cpu()


def _codes_outside(request: Request, model: SavedModel, latent_frames: int) -> Tensor:
    """Those of the film's first frames that a mask leaves, `TO_DRAW` elsewhere."""
    assert request.video is not None and request.mask is not None
    tokenizer = model.tokenizer
    count = tokenizer.num_frames(latent_frames)
    clip = _film(request.video, model, "video", count)
    if len(clip) < count:
        raise ValueError(
            f"{_name(request.video, 'video')} has {len(clip)} frames at {model.fps:g} a second, and the clip takes "
            f"{count}: give a longer one, or ask for fewer with num_frames"
        )
    sizes = [_stored_size(frames) for frames in (request.mask, request.video)]
    if sizes[0] != sizes[1]:
        (height, width), (film_height, film_width) = sizes
        raise ValueError(
            f"{_name(request.mask, 'mask')} is {height}x{width} pixels, the video {film_height}x{film_width}: give a "
            "mask of the video's size"
        )
    mask = _film(request.mask, model, "mask", count)
    if len(mask) not in (1, count):
        raise ValueError(
            f"{_name(request.mask, 'mask')} has {len(mask)} frames, and the clip takes {count}: give one for all, or "
            "one for each"
        )
    hidden_THW = (mask.frames_THWC.float().mean(dim=-1) >= _WHITE).expand(count, -1, -1)
    stride, side = tokenizer.time_stride, tokenizer.space_stride
    cells_THW = cells_of(hidden_THW, tokenizer.first_frames, stride, side)
    if not cells_THW.any() or cells_THW.all():
        found = "hides everything: ask without a video"
        found = found if cells_THW.all() else "hides nothing of the part that the model makes: make some of it white"
        raise ValueError(f"{_name(request.mask, 'mask')} {found}")
    share, drawn = (
        100 * hidden_THW.float().mean(),
        100 * pixels_of(cells_THW, tokenizer.first_frames, stride, side).float().mean(),
    )
    if drawn > share:
        warnings.warn(
            f"the mask is rounded to whole codes of {stride} frames and {side}x{side} pixels: it hides {share:.0f} %, "
            f"and {drawn:.0f} % is drawn",
            stacklevel=2,
        )
    if tokenizer.config.autoencoder.encoder_context != "patch":
        warnings.warn(
            "the tokenizer's encoder looks beyond the pixels of a code: what is kept beside the mask knows something "
            "of what was under it",
            stacklevel=2,
        )
    return _encoded(clip, model).masked_fill(cells_THW, TO_DRAW)


def _last_frames(video: Frames, asked: int | None, model: SavedModel, latent_frames: int) -> Clip:
    """So many of the film as are asked for, or as leave at least one latent frame to draw."""
    tokenizer = model.tokenizer
    possible = [tokenizer.num_frames(count) for count in range(1, latent_frames)]
    if not possible or (asked is not None and asked not in possible):
        what = "a video is given" if asked is None else f"context_frames is {asked}"
        counts = ", ".join(map(str, possible))
        remedy = "leaves nothing to draw: ask for more with num_frames"
        if possible:
            remedy = f"can go on from {counts} of them: choose one of these, or a longer clip with num_frames"
        raise ValueError(f"{what}, and a clip of {tokenizer.num_frames(latent_frames)} frames {remedy}")
    clip = _film(video, model, "video", asked or possible[-1], from_the_end=True)
    count = asked or max(count for count in possible if count <= len(clip))
    if len(clip) < count:
        raise ValueError(
            f"context_frames is {asked}, and {_name(video, 'video')} has {len(clip)} frames at {model.fps:g} a second: "
            "ask for fewer"
        )
    return Clip(clip.frames_THWC[len(clip) - count :], clip.fps)


def _still(image: Frames, model: SavedModel) -> Clip:
    """One frame as the model takes it."""
    if not isinstance(image, Clip):
        return Clip.read(image, size=model.size, num_frames=1)
    _check_size(image, model, "image")
    if len(image) != 1:
        raise ValueError(f"the image has {len(image)} frames: give one, or give them as a video")
    return image


def _film(frames: Frames, model: SavedModel, what: str, most: int, from_the_end: bool = False) -> Clip:
    """The first frames, or the last, at most `most`, as the model takes them; of a picture one."""
    if not isinstance(frames, Clip):
        if not from_the_end:
            return Clip.read(frames, size=model.size, fps=model.fps, num_frames=most)
        pieces = deque[Tensor](maxlen=-(-most // _FRAMES_AT_ONCE) + 1)
        for piece in Clip.read_pieces(Path(frames), _FRAMES_AT_ONCE, size=model.size, fps=model.fps):
            pieces.append(piece.frames_THWC)
        return Clip(torch.cat(list(pieces))[-most:], model.fps)
    _check_size(frames, model, what)
    if len(frames) > 1 and abs(frames.fps - model.fps) > 1e-3 * model.fps:
        raise ValueError(
            f"the {what} has {frames.fps:g} frames a second, the model makes {model.fps:g}: "
            f"read it with Clip.read(path, fps={model.fps:g})"
        )
    return Clip(frames.frames_THWC[-most:] if from_the_end else frames.frames_THWC[:most], model.fps)


def _check_size(clip: Clip, model: SavedModel, what: str) -> None:
    size = model.size
    if (clip.height, clip.width) != size:
        raise ValueError(
            f"the {what} is {clip.height}x{clip.width} pixels, the model makes {size[0]}x{size[1]}: "
            f"read it with Clip.read(path, size={size})"
        )


def _stored_size(frames: Frames) -> tuple[int, int]:
    """Height and width before they are scaled."""
    clip = frames if isinstance(frames, Clip) else Clip.read(frames, num_frames=1)
    return clip.height, clip.width


def _name(frames: Frames, what: str) -> str:
    return f"the {what}" if isinstance(frames, Clip) else str(frames)
