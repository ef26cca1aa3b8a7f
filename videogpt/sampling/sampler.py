"""Draws videos from the language model, a batch at a time, and hands them on frame by frame.

    sampler = VideoSampler(network, task, SamplingConfig(guidance_scale=3.0))
    for codes_BHW in sampler([Example(ids_of_a_prompt)], seeds=[0], latent_frames=5):
        ...                                        # the next frame is drawn when it is asked for

The task says what is given and in which order the rest is drawn, a lane (`lanes/`) advances, `draw` turns logits into
codes. Only codes can be drawn, and exactly as many as the frames hold. Each sample has noise of its own, drawn on the
CPU whatever the device, so that it does not depend on what else is in its batch.
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


class VideoSampler:
    """Draws from one model with one set of settings."""

    def __init__(self, network: VideoGPT, task: Task, config: SamplingConfig) -> None:
        self.network = network
        self.task = task
        self.config = config

    @torch.inference_mode()
    def __call__(self, examples: Sequence[Example], seeds: Sequence[int], latent_frames: int) -> Iterator[Tensor]:
        """Draw one video for each example.

        Args:
            examples: What is given.
            seeds: One for each example, 0 to 2**32 - 1.
            latent_frames: 1 to the layout's number; a shorter video is the beginning of a longer one.

        Yields:
            Codes (B, H, W) of the next latent frame of every video, int64, on the model's device.
        """
        config, raster = self.task.config, self.task.raster
        assert len(examples) == len(seeds) and 1 <= latent_frames <= config.latent_frames
        device = self.network.embedding.weight.device
        draw = Draw(self.config, seeds, config.codebook_size, config.latent_width, device)
        lane = EagerLane(self.network, self.task, examples, latent_frames, draw)
        drawn_as = {place: number for number, place in enumerate(lane.prompt.places)}
        lane.start()
        for frame in range(latent_frames):
            places = range(frame * raster.frame_tokens, (frame + 1) * raster.frame_tokens)
            numbers = [drawn_as[place] for place in places]
            while lane.drawn <= max(numbers):
                lane.step()
            yield raster.frames(lane.tokens(numbers))[:, 0]
