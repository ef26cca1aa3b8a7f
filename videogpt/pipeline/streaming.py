"""Samples into files that can be played while they are drawn, one clip after the other.

    pipeline = Pipeline.from_pretrained("shapes", batch_size=1)
    for sample in stream_samples(pipeline, requests, SampleWriter("samples"), begun=print):
        ...                                                      # its files are whole

An interrupt or a full disk loses the clip that is being drawn, and no other.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from videogpt.pipeline.pipeline import OnProgress, Pipeline
from videogpt.pipeline.request import Request, Sample
from videogpt.pipeline.sample_files import SampleWriter
from videogpt.sampling.config import SamplingConfig
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.write import GrowingMovie


def stream_samples(
    pipeline: Pipeline,
    requests: Sequence[Request],
    writer: SampleWriter,
    *,
    sampling: SamplingConfig | None = None,
    progress: OnProgress | None = None,
    begun: Callable[[Path], object] = lambda _: None,
) -> Iterator[Sample]:
    """Samples of `Pipeline.samples`, which are on the disk when they come.

    Args:
        pipeline: One whose batches are of one sample.
        begun: Called with the place of each video when its first frames are there.

    Raises:
        ValueError: see `Pipeline.samples`; also a pipeline of larger batches.
        OSError: the disk is full.
    """
    if pipeline.batch_size != 1:
        raise ValueError(f"batch_size is {pipeline.batch_size}; to stream, make the pipeline with batch_size=1")
    movie: GrowingMovie | None = None
    with ExitStack() as stack:

        def grow(request: Request, clip: Clip) -> None:
            nonlocal movie
            if movie is not None:
                movie.write(clip.frames_THWC)
                return
            movie = stack.enter_context(writer.growing(request, clip))
            begun(movie.path)

        for sample in pipeline.samples(requests, sampling=sampling, progress=progress, on_frames=grow):
            assert movie is not None
            stack.close()
            writer.finish(sample, movie.path)
            movie = None
            yield sample
