"""Prompts in, clips out: a complete model behind one call.

    pipeline = Pipeline.from_pretrained("shapes")               # a shipped model by name, or a model folder
    clips = pipeline("a red circle moves left", seed=0, num_samples=4)
    clips[0].write("circle.mp4")

    for clips in pipeline.stream(["a red circle moves left"]):  # the next frames of each, once decoded
        show(clips[0].frames_THWC)

The same model, prompt, seed and settings give the same codes, alone or among others, and pixels that differ
by rounding at most. Refuses frame counts that the tokenizer cannot make or the model has not learned, naming
those that it can. A prompt of more tokens than the model takes is cut, with a warning.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videogpt.pipeline.saved_model import ModelParts, StoredType, load_model, save_model
from videogpt.provenance import versions
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import SEED_LIMIT, VideoSampler
from videogpt_tokenizer.clips.clip import Clip

# B samples of a batch, C colours, T frames, H/W height and width

SHOWN_OF_A_PROMPT = 40
"""Characters of a prompt that a warning repeats."""

Progress = Callable[[int, int], None]
"""Called with the number of codes drawn so far and the number in all, once a latent frame."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sampled clip and what it came from."""

    clip: Clip
    prompt: str
    seed: int
    sampling: SamplingConfig
    batch_seconds: float
    """Wall time of the batch that the sample was made in, from prompts to frames."""
    samples_in_batch: int


class Pipeline:
    """A video tokenizer, a text tokenizer and a language model that belong together."""

    def __init__(self, parts: ModelParts, *, name: str = "unnamed", batch_size: int = 16) -> None:
        """Take a model as it is, each part on its device and in its type, and put it into evaluation mode.

        Args:
            parts: The model.
            name: What `describe` calls it.
            batch_size: The most samples made at once; more are made one batch after another.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        self.parts = parts
        self.name = name
        self.batch_size = batch_size
        parts.model.eval()
        parts.tokenizer.eval()

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path, device: str = "auto", *, batch_size: int = 16) -> "Pipeline":
        """Load a model folder, or a shipped model by its name.

        Args:
            device: `auto` takes the GPU where there is one; else `cpu`, `cuda`, `cuda:1` and so on. The
                network runs in float32 on a CPU, in bfloat16 on a GPU; the video tokenizer always in float32.

        Raises:
            ValueError: no such model or device, or a folder that is incomplete, altered or of two models.
        """
        target = _device(device)
        parts = load_model(folder_or_name)
        parts.model.to(target, torch.bfloat16 if target.type == "cuda" else torch.float32)
        parts.tokenizer.to(target)
        return cls(parts, name=Path(folder_or_name).resolve().name, batch_size=batch_size)

    def save_pretrained(self, folder: str | Path, dtype: StoredType = "float32") -> None:
        """Write a complete model folder, all of it or nothing; see `videogpt.pipeline.saved_model.save_model`."""
        save_model(folder, self.parts, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.parts.model.parameters()).device

    @property
    def max_frames(self) -> int:
        """Frames of the longest clip that the model has learned to make."""
        return self.parts.tokenizer.num_frames(self.parts.layout.config.latent_frames)

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        num_samples: int = 1,
        num_frames: int | None = None,
        sampling: SamplingConfig | None = None,
        progress: Progress | None = None,
    ) -> list[Clip]:
        """Sample clips; the arguments are those of `samples`.

        Returns:
            len(prompts) * num_samples clips: all samples of the first prompt, then those of the second, ...
        """
        samples = self.samples(
            prompts,
            seed=seed,
            num_samples=num_samples,
            num_frames=num_frames,
            sampling=sampling,
            progress=progress,
        )
        return [sample.clip for sample in samples]

    def samples(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        num_samples: int = 1,
        num_frames: int | None = None,
        sampling: SamplingConfig | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Sample]:
        """Sample clips batch by batch, in the order of the prompts; all is checked before this returns.

        Args:
            prompts: One or more; the empty prompt is allowed and stands for any video.
            seed: Of the first sample of each prompt, 0 to 2**32 - 1, one for all or one for each; sample k of
                a prompt has seed + k.
            num_samples: Samples of each prompt.
            num_frames: Frames of each clip, such as 1 + 4k; the model's longest if None.
            sampling: How to draw; the model's own settings if None.
            progress: Called with the number of codes drawn so far and in all.

        Raises:
            ValueError: a prompt is no string or there is none; a seed, num_samples or num_frames is out of
                range.
        """
        texts = _prompts(prompts)
        seeds = _seeds(seed, len(texts), num_samples)
        jobs = list(zip((text for text in texts for _ in range(num_samples)), seeds, strict=True))
        latent_frames = self._latent_frames(num_frames)
        return self._sample_jobs(jobs, latent_frames, sampling or self.parts.sampling, progress)

    def stream(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        num_frames: int | None = None,
        sampling: SamplingConfig | None = None,
    ) -> Iterator[list[Clip]]:
        """Sample one clip of each prompt, all in one batch, and yield its frames as they are decoded.

        Yields:
            For every latent frame one clip per prompt with the frames it decodes to: one for the first, then
            as many as the tokenizer's time stride. Joined they are what `__call__` returns.

        Raises:
            ValueError: as `samples`.
        """
        texts = _prompts(prompts)
        seeds = _seeds(seed, len(texts), 1)
        return self._stream(texts, seeds, self._latent_frames(num_frames), sampling or self.parts.sampling)

    def describe(self) -> dict[str, Any]:
        """What a sample's record should say of the model and the machine; JSON types only."""
        return {
            "model": {"name": self.name, "sha256": self.fingerprint()},
            "device": {"type": self.device.type, "dtype": str(next(self.parts.model.parameters()).dtype)[6:]},
            "versions": versions("python", "videogpt-lm", "torch", "av"),
        }

    def fingerprint(self) -> str:
        """SHA-256 over configurations, weights and both tokenizers: equal ones sample the same codes."""
        parts = self.parts
        configs = [dataclasses.asdict(parts.layout.config), dataclasses.asdict(parts.model.config)]
        digest = hashlib.sha256(json.dumps(configs, sort_keys=True).encode())
        digest.update(f"{parts.tokenizer.fingerprint()} {parts.text_tokenizer.fingerprint()}".encode())
        for name, tensor in sorted(parts.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _sample_jobs(
        self,
        jobs: list[tuple[str, int]],
        latent_frames: int,
        sampling: SamplingConfig,
        progress: Progress | None,
    ) -> Iterator[Sample]:
        frame_tokens = self.parts.layout.frame_tokens
        done, total = 0, len(jobs) * latent_frames * frame_tokens
        for start in range(0, len(jobs), self.batch_size):
            batch = jobs[start : start + self.batch_size]
            texts, seeds = [text for text, _ in batch], [seed for _, seed in batch]
            began = time.perf_counter()
            chunks: list[list[Clip]] = []
            for chunk in self._stream(texts, seeds, latent_frames, sampling):
                chunks.append(chunk)
                done += len(batch) * frame_tokens
                if progress is not None:
                    progress(done, total)
            seconds = time.perf_counter() - began
            for text, seed, parts in zip(texts, seeds, zip(*chunks, strict=True), strict=True):
                yield Sample(
                    clip=Clip(torch.cat([part.frames_THWC for part in parts]), self.parts.fps),
                    prompt=text,
                    seed=seed,
                    sampling=sampling,
                    batch_seconds=seconds,
                    samples_in_batch=len(batch),
                )

    def _stream(
        self, texts: list[str], seeds: list[int], latent_frames: int, sampling: SamplingConfig
    ) -> Iterator[list[Clip]]:
        parts = self.parts
        sampler = VideoSampler(parts.model, parts.layout, sampling)
        decoder, device = parts.tokenizer.stream(), next(parts.tokenizer.parameters()).device
        for codes_BHW in sampler([self._ids(text) for text in texts], seeds, latent_frames):
            video_BCTHW = decoder.decode(codes_BHW[:, None].to(device))
            yield [Clip.from_video(video_CTHW, parts.fps) for video_CTHW in video_BCTHW]

    def _ids(self, text: str) -> list[int]:
        """Text ids of a prompt; one that is too long is cut, with a warning."""
        ids, room = self.parts.text_tokenizer.encode(text), self.parts.layout.caption_tokens
        if len(ids) > room:
            start = text if len(text) <= SHOWN_OF_A_PROMPT else f"{text[:SHOWN_OF_A_PROMPT]}..."
            warnings.warn(
                f"prompt {start!r} has {len(ids)} tokens, the model takes {room}: the first {room} are kept, "
                "the rest is cut off",
                stacklevel=2,
            )
        return ids[:room]

    def _latent_frames(self, num_frames: int | None) -> int:
        """Latent frames of a clip of `num_frames` frames, if the model can make it."""
        if num_frames is None:
            return self.parts.layout.config.latent_frames
        if num_frames > self.max_frames:
            raise ValueError(f"num_frames is {num_frames}, but this model makes at most {self.max_frames}")
        side = self.parts.tokenizer.space_stride
        try:
            return self.parts.tokenizer.grid(num_frames, side, side).time
        except ValueError as error:
            raise ValueError(f"num_frames is {num_frames}: {error}") from error


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is not known: choose auto, cpu or cuda") from error
    if target.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported: choose auto, cpu or cuda")
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"device {device!r} is not there (GPUs found: {found}): choose cpu or auto")
    return target


def _prompts(prompts: str | Sequence[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("there is no prompt: give one or more")
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"prompt {text!r} is not a string")
    return texts


def _seeds(seed: int | Sequence[int], num_prompts: int, num_samples: int) -> list[int]:
    """Seeds of all samples, those of the first prompt first."""
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be 1 or more")
    firsts = [seed] * num_prompts if isinstance(seed, int) else list(seed)
    if len(firsts) != num_prompts:
        raise ValueError(f"{len(firsts)} seeds for {num_prompts} prompts: give one for all or one for each")
    seeds = [first + sample for first in firsts for sample in range(num_samples)]
    for value in seeds:
        if not 0 <= value < SEED_LIMIT:
            raise ValueError(f"seed {value} is out of range: it must be from 0 to {SEED_LIMIT - 1}")
    return seeds
