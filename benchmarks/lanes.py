"""Lanes of sampling against the eager one: the same codes? How many passes, how much time?

    python benchmarks/lanes.py [--quick] [--model shapes] [--clips 1000] [--batch 1] [--window 16] [--output FILE.json]

Clips are sampled with the model's own settings, guidance and filters included, without decoding them; clip k has seed
k and one of a few captions. A ratio above 1 is in the lane's favour.
"""

import statistics
import time

import torch
from _program import command, options, publish

from videogpt.evaluation.report import Report
from videogpt.layouts.task import Example
from videogpt.pipeline.pipeline import Pipeline
from videogpt.sampling.sampler import LANES, sample_frames

CAPTIONS = (
    "a red circle moves left",
    "a large blue star spins on a grey background",
    "a small green square grows and a yellow triangle moves up",
)


def main() -> None:
    parser = options(__doc__, quick="8 clips: within 50 s on two cores")
    parser.add_argument("--model", default="shapes", help="model folder or name of a shipped model")
    parser.add_argument("--clips", type=int, default=100, help="clips of each lane (100)")
    parser.add_argument("--batch", type=int, default=1, help="clips at once (1)")
    parser.add_argument("--window", type=int, help="places of a pass of the Jacobi lane (as many as pay)")
    arguments = parser.parse_args()
    model = Pipeline.from_pretrained(arguments.model).model
    clips = 8 if arguments.quick else arguments.clips
    frames, seconds = model.task.config.latent_frames, {name: [] for name in LANES}
    passes, differ = {name: [] for name in LANES}, dict.fromkeys(LANES, 0)
    for start in range(-arguments.batch, clips, arguments.batch):  # the first batch warms up
        seeds = [seed % 2**32 for seed in range(start, start + arguments.batch)]
        examples = [Example(model.text_tokenizer.encode(CAPTIONS[seed % len(CAPTIONS)])) for seed in seeds]
        codes = {}
        for name in LANES:
            began = time.perf_counter()
            window = arguments.window if name == "jacobi" else None
            sampled = sample_frames(
                model.network, model.task, model.sampling, examples, seeds, frames, lane=name, window=window
            )
            codes[name] = torch.stack(list(sampled), dim=1)
            if start >= 0:
                seconds[name].append(time.perf_counter() - began)
                passes[name].append(sampled.lane.passes)
                differ[name] += int((codes[name] != codes["eager"]).flatten(1).any(dim=1).sum())
    protocol = {
        "clips": clips,
        "batch": arguments.batch,
        "window": arguments.window or "as many as pay",
        "threads": torch.get_num_threads(),
        "order": "in turns",
    }
    report = Report.start(command(), {**protocol, "statistic": "median", "dtype": "float32"})
    eager = statistics.median(seconds["eager"])
    for name in (name for name in LANES if name != "eager"):
        report.add(f"{name}: clips whose codes differ from eager", differ[name], "clips")
        report.add(f"{name}: passes of a batch", statistics.mean(passes[name]), "passes (mean)")
        report.add(f"{name}: a batch of codes", statistics.median(seconds[name]), "s", rival="eager", rival_value=eager)
    publish(report, arguments.output)


if __name__ == "__main__":
    main()
