"""What is asked of a model, and what comes back: the same for the command line, Python and files of prompts.

    request = Request(text="a red circle moves left", seed=3)
    request = Request(image="circle.png")                                # the first frame of the clip
    request = Request(video="circle.mp4", context_frames=5)              # what the clip goes on from
    request = Request(video="circle.mp4", mask="box.png")                # where the mask is white, it is drawn anew
    requests = make_requests(["a red circle moves left", request], seed=0, num_samples=2)

Refuses texts that are no strings, seeds out of range, two conditions for one place, and no request at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import SEED_LIMIT
from videogpt_tokenizer.clips.clip import Clip

Frames = str | Path | Clip
"""A file of a picture or a film, or frames in memory."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip to make."""

    text: str = ""
    """The prompt; the empty one is allowed and stands for any video."""
    seed: int = 0
    """Of everything drawn, 0 to 2**32 - 1."""
    num_frames: int | None = None
    """Frames of the clip, such as 1 + 4k, those that are given among them; None is the model's longest."""
    image: Frames | None = None
    """The first frame of the clip."""
    video: Frames | None = None
    """A film whose last frames are the first of the clip: it goes on from there. With a mask the clip is this film, but
    for what is drawn anew."""
    context_frames: int | None = None
    """How many frames of the video, such as 1 + 4k; None: as many as leave something to draw."""
    mask: Frames | None = None
    """White where the video is to be drawn anew: a picture for all frames, or a film with one for each."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(f"prompt {self.text!r} is not a string")
        for name in ("seed", "num_frames", "context_frames"):
            number = getattr(self, name)
            if not (number is None and name != "seed") and (isinstance(number, bool) or not isinstance(number, int)):
                raise ValueError(f"{name} is {number!r}; it must be a whole number")
        for name in ("image", "video", "mask"):
            frames = getattr(self, name)
            if not isinstance(frames, str | Path | Clip | None):
                kind = type(frames).__name__
                raise ValueError(f"{name} is of type {kind}: give the place of a file, or Clip(frames_THWC, fps)")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"seed {self.seed} is out of range: it must be from 0 to {SEED_LIMIT - 1}")
        if self.image is not None and self.video is not None:
            raise ValueError("image and video both give the first frame: leave one of them out")
        if self.context_frames is not None and self.video is None:
            raise ValueError(f"context_frames is {self.context_frames}, but there is no video: give one")
        if self.mask is not None and (self.video is None or self.context_frames is not None):
            missing = "there is no video: give one" if self.video is None else "context_frames, too: leave one out"
            raise ValueError(f"a mask is given, and {missing}")

    @property
    def task(self) -> str:
        """What is asked for, by what is given."""
        if self.mask is not None:
            return "infill"
        return "continuation" if self.video is not None else "text_to_video" if self.image is None else "image_to_video"


Prompts = str | Request | Sequence[str | Request]
"""One or more; a `Request` brings its own seed and number of frames."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled clip and what it came from."""

    clip: Clip
    request: Request
    sampling: SamplingConfig
    batch_seconds: float
    """Wall time of the batch that the sample was made in, from prompts to frames."""
    samples_in_batch: int
    lane: str = "eager"
    """Which way the codes were drawn; see `videogpt.sampling.sampler`."""
    engine: str = "torch"
    """Who ran the network; see `videogpt.sampling.engines.engines`."""
    exact: bool = True
    """Whether lane and engine draw the codes of the plain ones for the seed, where the network runs in float32."""
    passes: int = 0
    """Forward passes of the network for the whole batch."""
    codes: int = 0
    """Codes of the clip."""
    given_frames: int = 0
    """First frames of the clip that were given."""


def make_requests(
    prompts: Prompts, *, seed: int | Sequence[int] = 0, num_samples: int = 1, num_frames: int | None = None
) -> list[Request]:
    """Requests for so many samples of each prompt: all of the first prompt, then those of the second, ...

    Args:
        prompts: Those that are strings take the seed and number of frames given here.
        seed: Of the first sample of each prompt, one for all or one for each; sample k of a prompt has seed + k.
        num_samples: Samples of each prompt.
        num_frames: See `Request`.

    Raises:
        ValueError: a prompt is no string or there is none; a seed or num_samples is out of range.
    """
    given = [prompts] if isinstance(prompts, str | Request) else list(prompts)
    if not given:
        raise ValueError("there is no prompt: give one or more")
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be 1 or more")
    seeds = [seed] * len(given) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(given):
        raise ValueError(f"{len(seeds)} seeds for {len(given)} prompts: give one for all or one for each")
    firsts = [
        prompt if isinstance(prompt, Request) else Request(text=prompt, seed=first, num_frames=num_frames)
        for prompt, first in zip(given, seeds, strict=True)
    ]
    return [replace(first, seed=first.seed + k) for first in firsts for k in range(num_samples)]
