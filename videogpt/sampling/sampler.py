"""Draws videos from the language model, a batch at a time, and hands them on frame by frame.

    frames = sample_frames(network, task, config, [Example(ids_of_a_prompt)], seeds=[0], latent_frames=5)
    for codes_BHW in frames:
        ...                                        # the next frame is drawn when it is asked for
    frames.lane.passes                             # how often the network was run

The task says what is given and in which order the rest is drawn, a lane (`lanes/`) advances, `draw` turns logits into
codes. Only codes can be drawn, and exactly as many as the frames hold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from videogpt.layouts.task import Example, Task
from videogpt.model.network import VideoGPT
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import Draw
from videogpt.sampling.engines.engine import Engine
from videogpt.sampling.engines.torch_engine import TorchEngine
from videogpt.sampling.lanes.eager import EagerLane
from videogpt.sampling.lanes.jacobi import JacobiLane
from videogpt.sampling.lanes.unverified import DiagonalLane, NextRowLane

# B samples, H/W latent grid

LANES: dict[str, type[EagerLane]] = {lane.name: lane for lane in (EagerLane, JacobiLane, NextRowLane, DiagonalLane)}
"""Ways to advance. Those that are not `exact` draw other codes for a seed, and have to be asked for."""


class FrameSampler(Iterator[Tensor]):
    """The latent frames of a batch of videos, (B, H, W) int64 on the model's device, each drawn when asked for."""

    def __init__(self, lane: EagerLane, latent_frames: int) -> None:
        self.lane = lane
        self._frames = self._draw(latent_frames)

    def __next__(self) -> Tensor:
        return next(self._frames)

    @torch.inference_mode()
    def _draw(self, latent_frames: int) -> Iterator[Tensor]:
        lane, raster = self.lane, self.lane.task.raster
        drawn_as = {place: number for number, place in enumerate(lane.prompt.places)}
        with lane.engine.at_work():
            lane.start()
        for frame in range(latent_frames):
            places = range(frame * raster.frame_tokens, (frame + 1) * raster.frame_tokens)
            numbers = [drawn_as[place] for place in places]
            with lane.engine.at_work():
                while lane.drawn <= max(numbers):
                    lane.step()
            yield raster.frames(lane.tokens(numbers))[:, 0]


def sample_frames(
    network: VideoGPT,
    task: Task,
    config: SamplingConfig,
    examples: Sequence[Example],
    seeds: Sequence[int],
    latent_frames: int,
    *,
    lane: str = "auto",
    engine: Engine | None = None,
    window: int | None = None,
) -> FrameSampler:
    """Draw one video for each example, which does not depend on the others of its batch.

    Args:
        examples: What is given.
        seeds: One for each example, 0 to 2**32 - 1.
        latent_frames: 1 to the layout's number; a shorter video is the beginning of a longer one.
        lane: A name in `LANES`, or "auto", see `find_lane`.
        engine: Runs the network, see `find_engine`; None: PyTorch does.
        window: Places of a pass of the Jacobi lane; None: as many as pay.

    Raises:
        ValueError: there is no such lane, or it has no window.
    """
    layout = task.config
    assert len(examples) == len(seeds) and 1 <= latent_frames <= layout.latent_frames
    device = network.embedding.weight.device
    draw = Draw(config, seeds, layout.codebook_size, layout.latent_width, device, network.level_head)
    engine = TorchEngine(network) if engine is None else engine
    kind = LANES[find_lane(lane, network, engine, len(examples) * (2 if draw.guided else 1))]
    if window is not None and kind is not JacobiLane:
        raise ValueError(f"window is {window}, but lane {kind.name} has none: choose lane jacobi, or leave window out")
    options: dict[str, Any] = {} if window is None else {"window": window}
    return FrameSampler(kind(network, task, examples, latent_frames, draw, engine, **options), latent_frames)


def find_lane(name: str, network: VideoGPT, engine: Engine, sequences: int = 1) -> str:
    """The name of a lane; "auto" is the fastest that draws the codes of the eager one in the network's precision.

    In less than float32 rounding alone makes the codes of windows others, so that a seed would mean something else.
    Of many sequences windows cost more than they bring.
    """
    if name != "auto" and name not in LANES:
        raise ValueError(f"lane is {name!r}; choose auto, {', '.join(LANES)}")
    exact = network.embedding.weight.dtype.itemsize >= torch.float32.itemsize
    return name if name != "auto" else "jacobi" if exact and engine.paying_window(sequences) > 1 else "eager"
