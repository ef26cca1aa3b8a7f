"""Time what a user waits for: the help text, the demo's three prompts, and one sample with the model loaded.

    python benchmarks/sampling.py [--quick] [--model shapes] [--output FILE.json]

The rival of one sample is the same model without a cache, which runs the whole sequence again for every code; both draw
the same codes, which is checked. A ratio above 1 is in our favour.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable

import torch
from _program import medians, options, publish

from videogpt.evaluation.report import Report
from videogpt.layouts.sequence import TokenSequence
from videogpt.layouts.task import Example, Task
from videogpt.pipeline.pipeline import Pipeline
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import sample_frames

# N rows, 1 one sample, H/W latent grid

PROMPT = "a red circle moves left"
DEMO_PROMPTS = (
    PROMPT,
    "a large blue star spins on a grey background",
    "a small green square grows and a yellow triangle moves up",
)
GREEDY = SamplingConfig(temperature=0.0)


def seconds(run: Callable[[], object], rounds: int = 1) -> float:
    """Median wall time of a call."""
    return medians([run], rounds)[0] / 1e3


def command_seconds(*arguments: str, rounds: int) -> float:
    """Median wall time of a `videogpt` command in a process of its own."""
    command = [sys.executable, "-m", "videogpt", *arguments]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True), rounds)


def example(pipeline: Pipeline) -> Example:
    """The prompt in the model's tokens."""
    return Example(pipeline.model.text_tokenizer.encode(PROMPT))


@torch.inference_mode()
def codes_without_cache(pipeline: Pipeline, task: Task, count: int) -> list[int]:
    """The likeliest codes of the prompt, each from a forward pass over all rows before it."""
    network, vocabulary = pipeline.model.network, task.vocabulary
    prompt = task.prompt([example(pipeline)], task.config.latent_frames)
    rows, positions_1M3 = prompt.given.to(pipeline.device), prompt.positions_1M3.to(pipeline.device)
    codes: list[int] = []
    for index in range(count):
        logits_1V = network.logits(network.hidden(rows)[:, -1], vocabulary.ids["video"])
        codes.append(int(logits_1V.argmax()))
        rows = TokenSequence(
            ids_BN=torch.cat([rows.ids_BN, vocabulary.to_ids("video", logits_1V.argmax(dim=-1, keepdim=True))], dim=1),
            positions_BN3=torch.cat([rows.positions_BN3, positions_1M3[:, index : index + 1]], dim=1),
            visibility=rows.visibility,
        )
    return codes


def codes_with_cache(pipeline: Pipeline, task: Task) -> list[int]:
    """The same codes from the sampler."""
    frames = sample_frames(pipeline.model.network, task, GREEDY, [example(pipeline)], [0], task.config.latent_frames)
    return torch.cat([frame.flatten() for frame in frames]).tolist()


def main() -> None:
    parser = options(__doc__, quick="fewer rounds: within 50 s on two cores")
    parser.add_argument("--model", default="shapes", help="model folder or name of a shipped model")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else 11
    pipeline = Pipeline.from_pretrained(arguments.model)
    task = pipeline.model.task
    count = task.config.latent_frames * task.raster.frame_tokens
    statistic, model = "median wall time", pipeline.describe()["model"]
    protocol = {"rounds": rounds, "statistic": statistic, "model": model, "prompt": PROMPT}
    report = Report.start(f"python benchmarks/sampling.py --model {arguments.model}", protocol)

    pipeline(PROMPT)  # the first call of a process warms up memory and threads
    guided = seconds(lambda: pipeline(PROMPT), rounds)
    report.add(f"one sample of {pipeline.max_frames} frames, model loaded", guided, "s")
    cached, uncached = codes_with_cache(pipeline, task), codes_without_cache(pipeline, task, count)
    if cached != uncached:
        raise SystemExit("the cache changes the codes: nothing was timed")
    with_cache = seconds(lambda: codes_with_cache(pipeline, task), rounds)
    without = seconds(lambda: codes_without_cache(pipeline, task, count))
    name = "the same codes, likeliest, without guidance"
    report.add(name, with_cache, "s", rival="no cache", rival_value=without)
    with tempfile.TemporaryDirectory() as folder:
        chosen = ("--model", arguments.model, "--output", folder)
        demo = command_seconds("sample", *DEMO_PROMPTS, *chosen, rounds=min(rounds, 3))
    report.add("make demo after set-up (three prompts, one process)", demo, "s")
    report.add("videogpt --help", command_seconds("--help", rounds=rounds), "s")
    publish(report, arguments.output)


if __name__ == "__main__":
    main()
