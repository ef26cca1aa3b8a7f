"""Draws videos code by code from the language model, a batch at a time, and hands them on frame by frame.

    sampler = VideoSampler(model, layout, SamplingConfig(guidance_scale=3.0))
    for codes_BHW in sampler([ids_of_a_prompt], seeds=[0], latent_frames=5):
        ...                                        # the next frame is drawn when it is asked for

Only codes can be drawn, and exactly as many as the frames hold: the network is asked for the logits of codes
alone, and the scan of the grid is fixed. Each sample draws from its own generator, on the CPU whatever the
device, so that it does not depend on what else is in its batch. Guidance (Ho and Salimans, 2022, arXiv
2207.12598) runs the rows with and without prompt as one batch.
"""

import logging
from collections.abc import Iterator, Sequence

import torch
from einops import rearrange, repeat
from torch import Tensor

from videogpt.layouts.text_to_video import Layout, TokenSequence
from videogpt.model.cache import KVCache
from videogpt.model.network import VideoGPT
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.filters import filter_logits, gumbel_noise

# B samples, R rows of the network's batch (2B under guidance, those with prompts first), M tokens of a row,
# D width, V codebook, N codes of a video, F codes of a latent frame, H/W latent grid

logger = logging.getLogger(__name__)
SEED_LIMIT = 2**32
"""Seeds are below this: the CPU's generator looks at no more than 32 bits of them."""


class VideoSampler:
    """Draws from one model with one set of settings."""

    def __init__(self, model: VideoGPT, layout: Layout, config: SamplingConfig) -> None:
        self.model = model
        self.layout = layout
        self.config = config
        self.guided = config.guidance_scale != 1.0

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]], seeds: Sequence[int], latent_frames: int) -> Iterator[Tensor]:
        """Draw one video per text.

        Args:
            texts: Text ids of each prompt, empty for none.
            seeds: One per text, 0 to 2**32 - 1.
            latent_frames: 1 to the layout's number; a shorter video is the beginning of a longer one.

        Yields:
            Codes (B, H, W) of the next latent frame of every video, int64, on the model's device.
        """
        assert len(texts) == len(seeds) and 1 <= latent_frames <= self.layout.config.latent_frames
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        rows = [*texts, *([] for _ in texts)] if self.guided else texts
        decoding = _Decoding(self.model, self.layout, [list(row) for row in rows], latent_frames)
        noise = self._noise(generators, decoding.device)
        codes_NB: list[Tensor] = []
        for _ in range(latent_frames):
            for _ in range(self.layout.frame_tokens):
                logits_RV = decoding.step(codes_NB[-1]) if codes_NB else decoding.start()
                codes_NB.append(self._draw(logits_RV, next(noise)))
            frame_FB = codes_NB[-self.layout.frame_tokens :]
            yield rearrange(frame_FB, "(h w) b -> b h w", h=self.layout.config.latent_height)

    def _noise(self, generators: list[torch.Generator], device: torch.device) -> Iterator[Tensor]:
        """Noise (B, V) for one code after another, none at temperature 0.

        It is drawn for a row of the grid at once, since a step has no time for loops over samples.
        """
        shape = (self.layout.config.latent_width, self.layout.config.codebook_size)
        while self.config.temperature > 0.0:
            noise_BWV = [gumbel_noise(shape, generator) for generator in generators]
            yield from torch.stack(noise_BWV, dim=1).to(device)
        while True:
            yield torch.zeros(1, 1, device=device)

    def _draw(self, logits_RV: Tensor, noise_BV: Tensor) -> Tensor:
        """Codes (B,) from the logits of all rows: with Gumbel noise a draw, without noise the likeliest."""
        logits_BV = logits_RV
        if self.guided:
            prompted_BV, free_BV = logits_RV.chunk(2)
            logits_BV = torch.lerp(free_BV, prompted_BV, self.config.guidance_scale)
        return (filter_logits(logits_BV, self.config) + noise_BV).argmax(dim=-1)


def shares_prompts(device: torch.device) -> bool:
    """Whether samples of a prompt read it from one place. A CPU reads what lies in one piece sooner."""
    return device.type != "cpu"


class _Decoding:
    """The network's side of one batch: codes in, float32 logits (R, V) of the codes that follow out."""

    def __init__(self, model: VideoGPT, layout: Layout, texts: list[list[int]], latent_frames: int) -> None:
        self.model, self.layout = model, layout
        self.rows = len(texts)
        self.device, video_tokens = model.embedding.weight.device, latent_frames * layout.frame_tokens
        self.visibility = layout.prompt(texts).to(self.device).visibility
        self.positions_1N3 = layout.video_positions(0, video_tokens).to(self.device)
        different = list(dict.fromkeys(map(tuple, texts))) if shares_prompts(self.device) else list(map(tuple, texts))
        self.prompt = layout.prompt([list(text) for text in different]).to(self.device)
        self.prompt_of = [different.index(tuple(text)) for text in texts] if len(different) < self.rows else None
        self.cache = KVCache.for_model(
            model.config,
            prompts=len(different),
            prompt_rows=self.prompt.ids_BN.shape[1],
            rows=max(video_tokens - 1, 1),  # nothing follows the last code
            batch=self.rows,
            dtype=model.embedding.weight.dtype,
            device=self.device,
        )
        logger.info("the cache of %d sequences takes %.1f MiB", self.rows, self.cache.memory_bytes / 2**20)
        self.codes_read = 0

    def start(self) -> Tensor:
        """Read the prompts."""
        logits_RV = self._logits(self.prompt)
        if self.prompt_of is None:
            return logits_RV
        self.cache.fork(self.prompt_of)
        return logits_RV[self.prompt_of]

    def step(self, codes_B: Tensor) -> Tensor:
        """Read the next code of every sample, which is the same in its row without the prompt."""
        codes_R1 = repeat(codes_B, "b -> (copies b) 1", copies=self.rows // len(codes_B))
        sequence = TokenSequence(
            ids_BN=self.layout.codes_to_ids(codes_R1),
            positions_BN3=self.positions_1N3[:, self.codes_read : self.codes_read + 1],
            visibility=self.visibility,
        )
        self.codes_read += 1
        return self._logits(sequence)

    def _logits(self, sequence: TokenSequence) -> Tensor:
        hidden_RMD = self.model.hidden(sequence, self.cache)
        return self.model.logits(hidden_RMD[:, -1], self.layout.video_ids).float()
