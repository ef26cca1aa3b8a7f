"""What sampling is timed on: jobs, our sampler, the clock that all contestants share, and what a pass has to read.

    job = jobs(batch=1, sampling=saved.sampling, latent_frames=5, count=1)[0]
    shot = Ours(saved, "eager", "torch")(job)              # seconds to the first frame and to the last, and passes

The clock runs from the prompts to decoded frames, for rivals too: they hand their codes to a `FrameSink`, which decodes
every latent frame as soon as it is whole.
"""

import dataclasses
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt.layouts.task import Example
from videogpt.model.likelihood import row_nats
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.request import Request
from videogpt.pipeline.saved_model import SavedModel
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import sample_frames
from videogpt_tokenizer.clips.clip import Clip

# B samples, N rows, T/H/W latent grid, C colours

NOUNS, COLOURS = ("circle", "square", "triangle", "star"), ("red", "green", "blue", "yellow")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Clips to make in one batch."""

    texts: list[str]
    seeds: list[int]
    sampling: SamplingConfig
    latent_frames: int


def jobs(batch: int, sampling: SamplingConfig, latent_frames: int, count: int) -> list[Job]:
    """So many jobs with prompts of their own, each of one object, and seeds of their own."""
    found = []
    for number in range(count):
        seeds = list(range(number * batch, (number + 1) * batch))
        texts = [f"a {COLOURS[seed // 4 % 4]} {NOUNS[seed % 4]} moves left" for seed in seeds]
        found.append(Job(texts=texts, seeds=seeds, sampling=sampling, latent_frames=latent_frames))
    return found


class Shot(NamedTuple):
    """What one job took."""

    first_frame: float
    """Seconds from prompts to the first decoded frame of every clip."""
    whole: float
    """Seconds from prompts to the last."""
    passes: int
    """Of the network, that of the prompt among them."""


class FrameSink:
    """Takes the codes of a batch place by place, decodes each latent frame once it is whole, and notes when."""

    def __init__(self, saved: SavedModel) -> None:
        self._began = time.perf_counter()
        self._saved, self._decoder = saved, saved.tokenizer.stream()
        self._codes_B: list[Tensor] = []
        self.frames_at: list[float] = []
        """Seconds at which each latent frame was decoded."""

    def put(self, codes_B: Tensor) -> None:
        """The codes of the next place."""
        self._codes_B.append(codes_B)
        raster = self._saved.task.raster
        if len(self._codes_B) == raster.frame_tokens:
            codes_BTHW = raster.frames(torch.stack(self._codes_B, dim=1)).to(self._saved.tokenizer.device)
            for video_CTHW in self._decoder.decode(codes_BTHW):
                Clip.from_video(video_CTHW, self._saved.fps)
            self._codes_B.clear()
            self.frames_at.append(time.perf_counter() - self._began)

    def shot(self, passes: int) -> Shot:
        """What it took until now."""
        return Shot(self.frames_at[0], self.frames_at[-1], passes)


class Ours:
    """One lane and engine of this project's sampler, through the pipeline that users call."""

    def __init__(self, saved: SavedModel, lane: str, engine: str) -> None:
        self._saved, self._pipeline = saved, Pipeline(saved, batch_size=1024, lane=lane, engine=engine)
        self._pipeline.engine()

    def prepare(self, job: Job) -> None:
        """Warm up memory and threads."""
        self(dataclasses.replace(job, latent_frames=1))

    def __call__(self, job: Job) -> Shot:
        frames: list[float] = []
        length = self._saved.tokenizer.num_frames(job.latent_frames)
        pairs = zip(job.texts, job.seeds, strict=True)
        requests = [Request(text=text, seed=seed, num_frames=length) for text, seed in pairs]
        began = time.perf_counter()
        samples = list(
            self._pipeline.samples(
                requests,
                sampling=job.sampling,
                progress=lambda *_: frames.append(time.perf_counter() - began),
            )
        )
        return Shot(frames[0], frames[-1], samples[0].passes)


def prompt_rows(saved: SavedModel, text: str) -> list[int]:
    """Rows of a prompt as rivals read them: as many as the model's own without padding; which ids is all the same."""
    ids = saved.text_tokenizer.encode(text)
    return [token % saved.task.config.codebook_size for token in (0, *ids, 1, 2)]


@torch.inference_mode()
def bits_per_code(saved: SavedModel, job: Job) -> float:
    """How unlikely the model finds what it drew itself: what a draft has to guess."""
    task, examples = saved.task, [Example(saved.text_tokenizer.encode(text)) for text in job.texts]
    frames = sample_frames(saved.network, task, job.sampling, examples, job.seeds, job.latent_frames)
    codes_BTHW = torch.stack(list(frames), dim=1)
    drawn = [example._replace(codes_THW=codes) for example, codes in zip(examples, codes_BTHW.cpu(), strict=True)]
    sequence = task.pack(drawn).to(codes_BTHW.device)
    nats_BN = row_nats(saved.network, sequence, task.vocabulary)
    return float(nats_BN[:, sequence.rows_of("video")].sum()) / math.log(2) / codes_BTHW.numel()


def bytes_per_pass(saved: SavedModel, job: Job) -> float:
    """What a pass has to read at least: the weights of the layers and of the codes' logits, and half a clip's cache."""
    network, config = saved.network, saved.network.config
    size = network.embedding.weight.element_size()
    weights = sum(x.numel() for block in network.blocks for x in block.parameters())
    weights += saved.task.config.codebook_size * config.width
    rows = len(prompt_rows(saved, job.texts[0])) + job.latent_frames * saved.task.raster.frame_tokens / 2
    sequences = len(job.texts) * (1 if job.sampling.guidance_scale == 1.0 else 2)
    return size * (weights + sequences * 2 * config.depth * config.kv_heads * config.head_dim * rows)


def read_bandwidth(device: torch.device) -> float:
    """Bytes per second of a sum over 1 GiB, best of 5."""
    numbers, times = torch.ones(2**28, device=device), []
    for _ in range(6):
        began = time.perf_counter()
        numbers.sum().item()
        times.append(time.perf_counter() - began)
    return numbers.nbytes / min(times[1:])
