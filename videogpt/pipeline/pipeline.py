"""Prompts in, clips out: a complete model behind one call.

    pipeline = Pipeline.from_pretrained("shapes")               # a shipped model by name, or a model folder
    clips = pipeline("a red circle moves left", seed=0, num_samples=4)
    clips[0].write("circle.mp4")

    clips = pipeline(Request(image="circle.png"))               # what is given is in `request.py`

    for clips in pipeline.stream(["a red circle moves left"]):  # the next frames of each, once decoded
        show(clips[0].frames_THWC)

The same model, prompt, seed and settings give the same codes, alone or among others, and pixels that differ
by rounding at most. Refuses frame counts that the tokenizer cannot make or the model has not learned, naming
those that it can. A prompt of more tokens than the model takes is cut, with a warning.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch

from videogpt.layouts.task import Example, Task
from videogpt.pipeline.conditions import Given, given_codes
from videogpt.pipeline.names import find_device
from videogpt.pipeline.request import Prompts, Request, Sample, make_requests
from videogpt.pipeline.saved_model import SavedModel, StoredType, load_model, save_model
from videogpt.provenance import versions
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.engines.engine import Engine
from videogpt.sampling.engines.engines import EXACT, find_engine
from videogpt.sampling.sampler import LANES, FrameSampler, find_lane, sample_frames
from videogpt_tokenizer.clips.clip import Clip

# B samples of a batch, C colours, T frames, H/W height and width

SHOWN_OF_A_PROMPT = 40
"""Characters of a prompt that a warning repeats."""

OnProgress = Callable[[int, int], None]
OnFrames = Callable[[Request, Clip], None]


class _Ways(NamedTuple):
    """How to draw."""

    lane: str
    engine: Engine


class _Job(NamedTuple):
    """A request that was checked."""

    request: Request
    task: Task
    latent_frames: int
    given: Given


class Pipeline:
    """A video tokenizer, a text tokenizer and a language model that belong together."""

    def __init__(
        self,
        model: SavedModel,
        *,
        name: str = "unnamed",
        batch_size: int = 16,
        lane: str = "auto",
        engine: str = "auto",
    ) -> None:
        """Take a model as it is, each part on its device and in its type, and put it into evaluation mode.

        Args:
            name: What `describe` calls it.
            batch_size: More samples than these are made one batch after another.
            lane: How codes are drawn, a name in `LANES` or `auto`; in float32 exact ones draw the same, see
                `find_lane`.
            engine: Who runs the network, a name in `ENGINES` or `auto`, the fastest exact one; see `find_engine`.

        Raises:
            ValueError: batch_size is below 1. A lane or engine is refused when it is to sample.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        self.model = model
        self.name = name
        self.batch_size = batch_size
        self.lane, self.engine_name = lane, engine
        self._engines: dict[str, tuple[Hashable, Engine]] = {}
        model.network.eval()
        model.tokenizer.eval()

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path, device: str = "auto", **options: Any) -> "Pipeline":
        """Load a model folder, or a shipped model by its name.

        The network runs in float32 on a CPU, in bfloat16 on a GPU; the video tokenizer always in float32.

        Args:
            device: See `find_device`.
            options: `batch_size`, `lane` and `engine`, as for the class.

        Raises:
            ValueError: no such model or device, or a folder that is incomplete, altered or of two models.
        """
        target = find_device(device)
        model = load_model(folder_or_name)
        model.network.to(target, torch.bfloat16 if target.type == "cuda" else torch.float32)
        model.tokenizer.to(target)
        return cls(model, name=Path(folder_or_name).resolve().name, **options)

    def save_pretrained(self, folder: str | Path, dtype: StoredType = "float32") -> None:
        """See `videogpt.pipeline.saved_model.save_model`."""
        save_model(folder, self.model, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.network.parameters()).device

    @property
    def max_frames(self) -> int:
        """Frames of the longest clip that the model has learned to make."""
        return self.model.tokenizer.num_frames(self.model.task.config.latent_frames)

    def __call__(self, prompts: Prompts, **arguments: Any) -> list[Clip]:
        """The clips of `samples`, which says what the arguments are."""
        return [sample.clip for sample in self.samples(prompts, **arguments)]

    def samples(
        self,
        prompts: Prompts,
        *,
        sampling: SamplingConfig | None = None,
        progress: OnProgress | None = None,
        lane: str | None = None,
        engine: str | None = None,
        on_frames: OnFrames | None = None,
        **asked: Any,
    ) -> Iterator[Sample]:
        """Sample clips batch by batch, in the order of the prompts; all is checked before this returns.

        Args:
            prompts: One or more, strings or requests.
            sampling: How to draw; the model's own settings if None.
            progress: Called once a latent frame with the number of codes drawn so far and the number in all.
            lane: How codes are drawn; the pipeline's own if None.
            engine: Who runs the network; the pipeline's own if None.
            on_frames: Called with each request of a batch and its further frames, as they are decoded.
            asked: `seed`, `num_samples` and `num_frames`, see `make_requests`.

        Raises:
            ValueError: see `make_requests`; also a number of frames that the model cannot make, an unknown lane, or an
                engine that is unknown or cannot run here.
        """
        ways = self._ways(lane, engine)
        jobs = self._jobs(make_requests(prompts, **asked))
        return self._sample_batches(jobs, sampling or self.model.sampling, ways, progress, on_frames)

    def stream(
        self,
        prompts: Prompts,
        *,
        sampling: SamplingConfig | None = None,
        lane: str | None = None,
        engine: str | None = None,
        **asked: Any,
    ) -> Iterator[list[Clip]]:
        """Sample all clips in one batch, and yield their frames as they are decoded; for the arguments see `samples`.

        Yields:
            For every latent frame one clip per sample with the frames it decodes to: one for the first, then as many
            as the tokenizer's time stride. Joined they are what `__call__` returns.

        Raises:
            ValueError: as `samples`; also clips of different lengths.
        """
        ways = self._ways(lane, engine)
        jobs = self._jobs(make_requests(prompts, **asked))
        if len({(job.latent_frames, job.task) for job in jobs}) > 1:
            raise ValueError(
                "clips of different lengths or tasks are asked for: stream those of one length and task together"
            )
        return self._decoded(self._frames(jobs, sampling or self.model.sampling, ways))

    def engine(self, name: str | None = None) -> Engine:
        """Who runs the network, by name or the pipeline's own; made ready once, and again after the weights change."""
        name = self.engine_name if name is None else name
        weights = [*self.model.network.parameters()]
        state = tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights)
        known = self._engines.get(name)
        if known is None or known[0] != state:
            known = self._engines[name] = (state, find_engine(name, self.model.network))
        return known[1]

    @property
    def exact(self) -> bool:
        """Whether its lane and engine draw the codes of the plain ones for a seed, where the network is in float32."""
        return (self.lane == "auto" or LANES[self.lane].exact) and self.engine().name in EXACT

    def describe(self) -> dict[str, Any]:
        """What a sample's record should say of the model and the machine; JSON types only."""
        return {
            "model": {"name": self.name, "sha256": self.fingerprint()},
            "device": {"type": self.device.type, "dtype": str(next(self.model.network.parameters()).dtype)[6:]},
            "versions": versions("python", "videogpt-lm", "torch", "av"),
        }

    def fingerprint(self) -> str:
        """SHA-256 over configurations, weights and both tokenizers: equal ones sample the same codes."""
        model = self.model
        configs = [model.task.config.settings(), model.network.config.settings()]
        digest = hashlib.sha256(json.dumps(configs, sort_keys=True).encode())
        digest.update(f"{model.tokenizer.fingerprint()} {model.text_tokenizer.fingerprint()}".encode())
        for name, tensor in sorted(model.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _ways(self, lane: str | None, engine: str | None) -> _Ways:
        """Refuses unknown ones before anything is drawn."""
        ways = _Ways(self.lane if lane is None else lane, self.engine(engine))
        find_lane(ways.lane, self.model.network, ways.engine)
        return ways

    def _jobs(self, requests: list[Request]) -> list[_Job]:
        """Refuses what the model cannot make; reads what is given, once for all samples of it."""
        known: dict[Hashable, Given] = {}
        jobs = []
        for request in requests:
            task, latent_frames = self.model.task_for(request.task), self._latent_frames(request.num_frames)
            files = (request.image, request.video, request.context_frames, request.mask, latent_frames)
            if files not in known:
                known[files] = given_codes(request, self.model, latent_frames)
            jobs.append(_Job(request, task, latent_frames, known[files]))
        return jobs

    def _sample_batches(
        self,
        jobs: list[_Job],
        sampling: SamplingConfig,
        ways: _Ways,
        progress: OnProgress | None,
        on_frames: OnFrames | None,
    ) -> Iterator[Sample]:
        frame_tokens = self.model.task.raster.frame_tokens
        done, total = 0, sum(job.latent_frames for job in jobs) * frame_tokens
        for (latent_frames, _), group in groupby(jobs, key=lambda job: (job.latent_frames, job.task.name)):
            alike = list(group)
            for start in range(0, len(alike), self.batch_size):
                batch = alike[start : start + self.batch_size]
                began = time.perf_counter()
                pieces: list[list[Clip]] = []
                frames = self._frames(batch, sampling, ways)
                for piece in self._decoded(frames):
                    pieces.append(piece)
                    if on_frames is not None:
                        for job, clip in zip(batch, piece, strict=True):
                            on_frames(job.request, clip)
                    done += len(batch) * frame_tokens
                    if progress is not None:
                        progress(done, total)
                seconds = time.perf_counter() - began
                for job, clips in zip(batch, zip(*pieces, strict=True), strict=True):
                    yield Sample(
                        clip=Clip(torch.cat([clip.frames_THWC for clip in clips]), self.model.fps),
                        request=job.request,
                        sampling=sampling,
                        batch_seconds=seconds,
                        samples_in_batch=len(batch),
                        lane=frames.lane.name,
                        engine=frames.lane.engine.name,
                        exact=frames.lane.exact and frames.lane.engine.name in EXACT,
                        passes=frames.lane.passes,
                        codes=latent_frames * frame_tokens,
                        given_frames=job.given.frames,
                    )

    def _frames(self, jobs: Sequence[_Job], sampling: SamplingConfig, ways: _Ways) -> FrameSampler:
        """Those of jobs of one length and task."""
        network, task, latent_frames = self.model.network, jobs[0].task, jobs[0].latent_frames
        examples = [
            Example(self._ids(job.request.text), job.given.codes_THW, prefix_codes=job.given.prefix_codes)
            for job in jobs
        ]
        seeds = [job.request.seed for job in jobs]
        return sample_frames(network, task, sampling, examples, seeds, latent_frames, **ways._asdict())

    def _decoded(self, frames: FrameSampler) -> Iterator[list[Clip]]:
        model = self.model
        decoder, device = model.tokenizer.stream(), model.tokenizer.device
        for codes_BHW in frames:
            video_BCTHW = decoder.decode(codes_BHW[:, None].to(device))
            yield [Clip.from_video(video_CTHW, model.fps) for video_CTHW in video_BCTHW]

    def _ids(self, text: str) -> list[int]:
        ids, room = self.model.text_tokenizer.encode(text), self.model.task.config.caption_tokens
        if len(ids) > room:
            start = text if len(text) <= SHOWN_OF_A_PROMPT else f"{text[:SHOWN_OF_A_PROMPT]}..."
            warnings.warn(
                f"prompt {start!r} has {len(ids)} tokens, the model takes {room}: the first {room} are kept, "
                "the rest is cut off",
                stacklevel=2,
            )
        return ids[:room]

    def _latent_frames(self, num_frames: int | None) -> int:
        if num_frames is None:
            return self.model.task.config.latent_frames
        if num_frames > self.max_frames:
            raise ValueError(f"num_frames is {num_frames}, but this model makes at most {self.max_frames}")
        side = self.model.tokenizer.space_stride
        try:
            return self.model.tokenizer.grid(num_frames, side, side).time
        except ValueError as error:
            raise ValueError(f"num_frames is {num_frames}: {error}") from error
