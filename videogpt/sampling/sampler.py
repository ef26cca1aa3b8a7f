"""Draws videos from the language model, a batch at a time, and hands them on frame by frame.

    for codes_BHW in sample_frames(network, task, config, [Example(ids_of_a_prompt)], seeds=[0], latent_frames=5):
        ...                                        # the next frame is drawn when it is asked for

The task says what is given and in which order the rest is drawn, a lane (`lanes/`) advances, `draw` turns logits into
codes. Only codes can be drawn, and exactly as many as the frames hold.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from videogpt.layouts.task import Example, Task
from videogpt.model.network import VideoGPT
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import Draw
from videogpt.sampling.lanes.eager import EagerLane

# B samples, H/W latent grid


@torch.inference_mode()
def sample_frames(
    network: VideoGPT,
    task: Task,
    config: SamplingConfig,
    examples: Sequence[Example],
    seeds: Sequence[int],
    latent_frames: int,
) -> Iterator[Tensor]:
    """Draw one video for each example, which does not depend on the others of its batch.

    Args:
        examples: What is given.
        seeds: One for each example, 0 to 2**32 - 1.
        latent_frames: 1 to the layout's number; a shorter video is the beginning of a longer one.

    Yields:
        Codes (B, H, W) of the next latent frame of every video, int64, on the model's device.
    """
    layout, raster = task.config, task.raster
    assert len(examples) == len(seeds) and 1 <= latent_frames <= layout.latent_frames
    draw = Draw(config, seeds, layout.codebook_size, layout.latent_width, network.embedding.weight.device)
    lane = EagerLane(network, task, examples, latent_frames, draw)
    drawn_as = {place: number for number, place in enumerate(lane.prompt.places)}
    lane.start()
    for frame in range(latent_frames):
        places = range(frame * raster.frame_tokens, (frame + 1) * raster.frame_tokens)
        numbers = [drawn_as[place] for place in places]
        while lane.drawn <= max(numbers):
            lane.step()
        yield raster.frames(lane.tokens(numbers))[:, 0]
