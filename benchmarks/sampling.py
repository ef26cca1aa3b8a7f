"""Time sampling: what a user waits for, and clips of several sizes of model against other programs of the same shape.

    python benchmarks/sampling.py [--quick] [--output FILE.json]
    python benchmarks/sampling.py --parts clips --sizes 3M 10M --batches 1 16
    python benchmarks/sampling.py --parts user --model FOLDER

Parts: `user` is the help text, the demo's three prompts, and one sample with the model loaded, whose rival is the same
model without a cache. `clips` times whole clips, from prompts to decoded frames, in turns with `transformers` and
llama.cpp (`pip install -e '.[rivals]'`; one that is not installed is left out). `memory` is the largest resident set of
a process that makes one clip. All rivals have random weights, and are checked before anything is timed; each runs in
the fastest of its ways, tried beforehand. A ratio above 1 is in our favour.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from _grown_models import RANDOM, SHIPPED, SIZES, model_of, shape_of
from _program import command, keep, leave_out, medians, options, peak_megabytes, publish
from _sampling_scene import Job, Ours, Shot, bits_per_code, bytes_per_pass, jobs, read_bandwidth

from videogpt.evaluation.report import Report
from videogpt.layouts.sequence import TokenSequence
from videogpt.layouts.task import Example, Task
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.saved_model import SavedModel
from videogpt.provenance import versions
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import sample_frames

# N rows, 1 one sample, H/W latent grid

LACKING = (ImportError, RuntimeError)
"""A rival that is not installed, or cannot run here."""
PARTS = ("user", "clips", "memory")
PROMPT = "a red circle moves left"
DEMO_PROMPTS = (
    PROMPT,
    "a large blue star spins on a grey background",
    "a small green square grows and a yellow triangle moves up",
)
GREEDY = SamplingConfig(temperature=0.0)
UNGUIDED = SamplingConfig(temperature=1.0, top_p=0.9)
PROTOCOL = {
    "user": "medians of {rounds} rounds, wall time",
    "clips": "medians of rounds in turns, each with prompts and seeds of its own, wall time from prompts to decoded "
    "frames, {threads} threads at most; guided is the shipped settings (temperature 0.7, top-p 0.9, guidance 2, so two "
    "sequences a clip), unguided is temperature 1 and top-p 0.9",
    "models": "3M is the shipped model, larger ones are it grown into the shape, so that all draw as it does; random "
    "has random weights",
    "floor": "the weights of the layers and of the codes' logits, and half a clip's cache, at the speed of a sum over "
    "1 GiB in the same run; a model that fits into the processor's own cache can be faster",
    "rivals": "Llamas with the same width, depth, heads, key heads and hidden channels, the codes for a vocabulary, "
    "random weights, one rotary axis, no gains of queries and keys; prompts of as many rows; their own filters; frames "
    "decoded by the same tokenizer",
    "transformers": "float32; the fastest of dynamic and static cache, of guidance in one pass or two, and of thread "
    "counts",
    "llama.cpp": "ik_llama.cpp from its wheel; a 16-bit cache, no flash attention, guidance as two sequences of a "
    "batch; the fastest of one batch or one clip after the other, of matrices as stored or repacked, "
    "and of thread counts",
    "memory": "the largest resident set of a process that makes one latent frame of guided clips; torch and the video "
    "tokenizer are loaded in all; on a GPU the most of its memory",
}


class _Contestant(Protocol):
    """Makes clips."""

    def prepare(self, job: Job) -> None:
        """Get ready for jobs like this one."""
        ...

    def __call__(self, job: Job) -> Shot:
        """Make its clips."""
        ...


def _llama_cpp(kind: str) -> Callable[[SavedModel, Path], _Contestant]:
    def make(saved: SavedModel, folder: Path) -> _Contestant:
        from _rival_llama_cpp import LlamaCpp

        if torch.cuda.is_available():
            raise RuntimeError("the package has CPU code only")
        return LlamaCpp(saved, "q8_0" if kind == "q8_0" else "f32", folder)

    return make


def _transformers(saved: SavedModel, _: Path) -> _Contestant:
    from _rival_transformers import Transformers

    return Transformers(saved)


PLAIN = "eager/torch"
"""Lane and engine that all others are held to."""
ROUNDED = "onnx-int8"
"""Worth its price from some size on: `LARGE`."""
LARGE = ("38M", "100M", "350M", "1B")


def our_ways(size: str, batch: int) -> list[str]:
    """Lanes and engines that are timed."""
    if torch.cuda.is_available():
        return [PLAIN, "jacobi/torch", "eager/compiled", "jacobi/compiled"]
    ways = [PLAIN, "jacobi/torch", "jacobi/onnx"] if batch == 1 else [PLAIN, "eager/onnx"]
    if size in LARGE:
        ways += [f"{ways[-1].partition('/')[0]}/{ROUNDED}"]
        ways += ["eager/onnx", f"eager/{ROUNDED}"] * (batch == 1)  # row by row weights are read, and little else
    return ways


def _ours(way: str) -> Callable[[SavedModel, Path], _Contestant]:
    return lambda saved, _: Ours(saved, *way.split("/"))


RIVALS: dict[str, Callable[[SavedModel, Path], _Contestant]] = {
    "transformers": _transformers,
    "llama.cpp f32": _llama_cpp("f32"),
    "llama.cpp q8_0": _llama_cpp("q8_0"),
}


class Plan(NamedTuple):
    """How much of which clips is made."""

    latent_frames: int
    rounds: int


PLANS = {
    ("3M", 1): Plan(5, 9),
    ("3M", 16): Plan(5, 2),
    ("10M", 1): Plan(5, 5),
    ("10M", 16): Plan(2, 2),
    (RANDOM, 1): Plan(5, 3),
    (RANDOM, 16): Plan(1, 2),
    ("38M", 1): Plan(5, 3),
    ("38M", 16): Plan(1, 2),
    ("100M", 1): Plan(2, 2),
    ("100M", 16): Plan(1, 1),
}
"""By size and batch; where there is none, one clip of one latent frame."""


def seconds(run: Callable[[], object], rounds: int = 1) -> float:
    """Median wall time of a call."""
    return medians([run], rounds)[0] / 1e3


def command_seconds(*arguments: str, rounds: int) -> float:
    """Median wall time of a `videogpt` command in a process of its own."""
    words = [sys.executable, "-m", "videogpt", *arguments]
    return seconds(lambda: subprocess.run(words, check=True, capture_output=True), rounds)


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


def what_a_user_waits_for(report: Report, model: str, rounds: int) -> None:
    """Rows of the part `user`."""
    pipeline = Pipeline.from_pretrained(model)
    task = pipeline.model.task
    count = task.config.latent_frames * task.raster.frame_tokens
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
        chosen = ("--model", model, "--output", folder)
        demo = command_seconds("sample", *DEMO_PROMPTS, *chosen, rounds=rounds // 3)
    report.add("make demo after set-up (three prompts, one process)", demo, "s")
    report.add("videogpt --help", command_seconds("--help", rounds=rounds), "s")


def clips(report: Report, size: str, batch: int, guided: bool, bandwidth: float, plan: Plan) -> None:
    """Rows of the part `clips` for one size, batch and way of sampling."""
    saved, kind = model_of(size), "guided" if guided else "unguided"
    most = saved.task.config.latent_frames
    part = "" if plan.latent_frames == most else f", {plan.latent_frames} of {most} latent frames"
    name = f"{size}, batch {batch}, {kind}{part}"
    todo = jobs(batch, saved.sampling if guided else UNGUIDED, plan.latent_frames, plan.rounds)
    codes = batch * plan.latent_frames * saved.task.raster.frame_tokens
    with tempfile.TemporaryDirectory() as folder:
        shots = dict(_in_turns(saved, size, todo, Path(folder)))
    rates = {who: codes / statistics.median(shot.whole for shot in own) for who, own in shots.items()}
    firsts = {who: statistics.median(shot.first_frame for shot in own) for who, own in shots.items()}
    for ours in (way for way in our_ways(size, batch) if way in shots):
        rate, passes = rates[ours], statistics.mean(shot.passes for shot in shots[ours])
        milliseconds = 1e3 * codes / rate / passes
        for who, rival_rate in rates.items():
            if _is_rival(who, ours):
                versus = {"rival": who, "rival_value": rival_rate, "lower_is_better": False}
                report.add(f"{name}: {ours}", rate, "codes/s", **versus)
        if not any(_is_rival(who, ours) for who in rates):
            report.add(f"{name}: {ours}", rate, "codes/s", lower_is_better=False)
        report.add(f"{name}: {ours}, passes", passes, "passes")
        report.add(f"{name}: {ours}, one pass", milliseconds, "ms")
        floor = 1e3 * bytes_per_pass(saved, todo[0]) / bandwidth
        report.add(f"{name}: {ours}, share of the floor", 100 * floor / milliseconds, "%", lower_is_better=False)
        # A rival that makes one clip after the other shows the first frame of the last one late, and none waits for it.
        compared = [who for who in firsts if _is_rival(who, ours) and batch == 1]
        for who in compared:
            versus = {"rival": who, "rival_value": firsts[who]}
            report.add(f"{name}: {ours}, time to first frame", firsts[ours], "s", **versus)
        if not compared:
            report.add(f"{name}: {ours}, time to first frame", firsts[ours], "s")
    report.add(f"{name}: bits per code of what is drawn", bits_per_code(saved, todo[0]), "bits")


def _is_rival(who: str, ours: str) -> bool:
    """Whether a way is compared with this one: with other programs, the plain one, and 8 bits with 32 of them."""
    return who in RIVALS or (who == PLAIN and ours != PLAIN) or who == ours.replace(ROUNDED, "onnx") != ours


def _in_turns(saved: SavedModel, size: str, todo: list[Job], folder: Path) -> Iterator[tuple[str, list[Shot]]]:
    """What every contestant took for each job; they take turns, so that a busy machine disturbs all alike."""
    contestants: dict[str, _Contestant] = {}
    ours = {way: _ours(way) for way in our_ways(size, len(todo[0].texts))}
    for who, make in (ours if size == RANDOM else ours | RIVALS).items():
        with leave_out(who, LACKING):
            contestant = make(saved, folder)
            contestant.prepare(todo[0])
            contestants[who] = contestant
    shots: dict[str, list[Shot]] = {who: [] for who in contestants}
    for job in todo:
        for who, contestant in contestants.items():
            shots[who].append(contestant(job))
    yield from shots.items()


def memory(report: Report, size: str, batch: int) -> None:
    """Rows of the part `memory`."""
    found = {}
    for who in [*our_ways(size, batch), *RIVALS]:
        asked = (who, size, batch, torch.get_num_threads())
        with tempfile.TemporaryDirectory() as folder, leave_out(f"memory of {who}", LACKING):
            if who in RIVALS:
                _in_a_process(_made, Path(folder), who, size)  # the file of a model costs more to write than to use
            found[who] = _in_a_process(_megabytes_of, Path(folder), *asked)
    for ours in (way for way in our_ways(size, batch) if way in found):
        name, unit = f"{size}, batch {batch}, guided: {ours}, most memory", "MiB"
        for who, value in found.items():
            if _is_rival(who, ours):
                report.add(name, found[ours], unit, rival=who, rival_value=value)
        if not any(_is_rival(who, ours) for who in found):
            report.add(name, found[ours], unit)


def _in_a_process(run: Callable[..., float], *arguments: Any) -> float:
    """The result of a call in a process of its own; RuntimeError where that dies."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def _made(folder: Path, who: str, size: str) -> float:
    """Let a rival write what it reads."""
    RIVALS[who](shape_of(size), folder)
    return 0.0


def _megabytes_of(folder: Path, who: str, size: str, batch: int, threads: int) -> float:
    """Of a process that makes one latent frame of guided clips."""
    torch.set_num_threads(threads)
    saved = shape_of(size) if who in RIVALS else model_of(size)
    contestant = (RIVALS[who] if who in RIVALS else _ours(who))(saved, folder)
    contestant(jobs(batch, saved.sampling, 1, 1)[0])
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_megabytes()


def main() -> None:
    parser = options(__doc__, quick="fewer rounds, sizes and rows: within 50 s on two cores")
    known = [SHIPPED, "10M", RANDOM, *list(SIZES)[1:]]
    parser.add_argument("--model", default="shapes", help="of the part user: model folder or name of a shipped model")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=None, help="only these; default all, or quick's")
    parser.add_argument("--sizes", nargs="+", choices=known, default=None, help="of models; default all that fit")
    parser.add_argument("--batches", nargs="+", type=int, default=None, metavar="N", help="clips at once; default 1 16")
    arguments = parser.parse_args()
    quick, rounds = arguments.quick, 3 if arguments.quick else 11
    parts = arguments.parts or (PARTS[:2] if quick else PARTS)
    sizes = arguments.sizes or known[: 2 if quick else len(known) if torch.cuda.is_available() else 5]
    batches = arguments.batches or ([1] if quick else [1, 16])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    counts = {"rounds": rounds, "threads": torch.get_num_threads()}
    protocol: dict[str, Any] = {key: text.format(**counts) for key, text in PROTOCOL.items()}
    protocol["shapes"] = {size: asdict(shape_of(size).network.config) for size in sizes}
    protocol |= {"model": arguments.model, "prompt": PROMPT, "quick": quick}
    report = Report.start(command(), protocol)
    keep(report, arguments.output)
    report.versions |= versions("transformers", "gguf", "ik-llama-cpp-python")
    if "user" in parts:
        what_a_user_waits_for(report, arguments.model, rounds)
    if "clips" in parts:
        bandwidth = read_bandwidth(device)
        report.add("sum over 1 GiB, the speed of the floor", bandwidth / 1e9, "GB/s", lower_is_better=False)
        for size in sizes:
            for batch in batches:
                for guided in (True, False) if size in known[:2] and batch == 1 and not quick else (True,):
                    plan = PLANS.get((size, batch), Plan(1, 1))
                    plan = Plan(min(plan.latent_frames, 2), 2) if quick else plan
                    clips(report, size, batch, guided, bandwidth, plan)
    if "memory" in parts:
        for size in sizes:
            if size != RANDOM:
                memory(report, size, batches[0])
    publish(report, arguments.output)


if __name__ == "__main__":
    main()
