"""Lanes and engines of sampling against the plain ones: the same codes? How many passes, how much time?

    python benchmarks/lanes.py [--quick] [--model shapes] [--clips 1000] [--batch 1] [--window 16] [--output FILE.json]
    python benchmarks/lanes.py --ways jacobi/onnx jacobi/onnx-int8

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
from videogpt.sampling.engines.engines import ENGINES
from videogpt.sampling.sampler import LANES, sample_frames

CAPTIONS = (
    "a red circle moves left",
    "a large blue star spins on a grey background",
    "a small green square grows and a yellow triangle moves up",
)
PLAIN = "eager/torch"
WAYS = (PLAIN, "jacobi/torch", "eager/onnx", "jacobi/onnx")


def main() -> None:
    parser = options(__doc__, quick="8 clips: within 50 s on two cores")
    parser.add_argument("--model", default="shapes", help="model folder or name of a shipped model")
    parser.add_argument("--clips", type=int, default=100, help="clips of each lane (100)")
    parser.add_argument("--batch", type=int, default=1, help="clips at once (1)")
    parser.add_argument("--window", type=int, help="places of a pass of the Jacobi lane (as many as pay)")
    known = [f"{lane}/{engine}" for lane in LANES for engine in ENGINES]
    about = "lane/engine, beside the plain ones; default those that draw the same codes"
    parser.add_argument("--ways", nargs="+", choices=known, default=WAYS, metavar="WAY", help=about)
    arguments = parser.parse_args()
    ways = list(dict.fromkeys([PLAIN, *arguments.ways]))
    pipeline = Pipeline.from_pretrained(arguments.model)
    model = pipeline.model
    clips = 8 if arguments.quick else arguments.clips
    frames, seconds = model.task.config.latent_frames, {way: [] for way in ways}
    passes, differ = {way: [] for way in ways}, dict.fromkeys(ways, 0)
    for start in range(-arguments.batch, clips, arguments.batch):  # the first batch warms up
        seeds = [seed % 2**32 for seed in range(start, start + arguments.batch)]
        examples = [Example(model.text_tokenizer.encode(CAPTIONS[seed % len(CAPTIONS)])) for seed in seeds]
        codes = {}
        for way in ways:
            lane, engine = way.split("/")
            asked = {"lane": lane, "engine": pipeline.engine(engine)}
            if lane == "jacobi":
                asked["window"] = arguments.window
            began = time.perf_counter()
            sampled = sample_frames(model.network, model.task, model.sampling, examples, seeds, frames, **asked)
            codes[way] = torch.stack(list(sampled), dim=1)
            if start >= 0:
                seconds[way].append(time.perf_counter() - began)
                passes[way].append(sampled.lane.passes)
                differ[way] += int((codes[way] != codes[PLAIN]).flatten(1).any(dim=1).sum())
    protocol = {
        "clips": clips,
        "batch": arguments.batch,
        "window": arguments.window or "as many as pay",
        "threads": torch.get_num_threads(),
        "order": "in turns",
    }
    report = Report.start(command(), {**protocol, "statistic": "median", "dtype": "float32"})
    plain = statistics.median(seconds[PLAIN])
    for way in ways[1:]:
        report.add(f"{way}: clips whose codes differ from {PLAIN}", differ[way], "clips")
        report.add(f"{way}: passes of a batch", statistics.mean(passes[way]), "passes (mean)")
        report.add(f"{way}: a batch of codes", statistics.median(seconds[way]), "s", rival=PLAIN, rival_value=plain)
    publish(report, arguments.output)


if __name__ == "__main__":
    main()
