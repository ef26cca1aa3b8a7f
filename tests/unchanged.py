"""Is the house still the same after a rebuilding? Records what it computes for fixed seeds, and compares.

    python tests/unchanged.py record before.json      # before the first change
    python tests/unchanged.py compare before.json     # after it: says what differs, exit code 1 if anything does
    python tests/unchanged.py time ../before          # seconds against a checkout of before, in turns

Codes of 40 prompts (alone, batched, without guidance, likeliest, streamed), the figures of `evaluate --clips 50`,
the losses of 30 steps of the tiny configurations and of a run that was interrupted and resumed, and the hashes of the
weights that came of them. Goes through the public door alone, so that the same file runs on both sides. Losses are
those of one machine: record and compare on the same, in the same number of threads.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from videogpt import Pipeline
from videogpt_tokenizer import VideoTokenizer

ROOT = Path(__file__).parents[1]
SIZES, COLOURS = ("small", "large"), ("red", "orange", "yellow", "green", "blue")
MOTIONS = ("circle moves left", "square bounces", "triangle spins", "star stays still")
PROMPTS = [f"a {size} {colour} {motion}" for size in SIZES for colour in COLOURS for motion in MOTIONS]
PLAIN = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "guidance_scale": 1.0}
STEPS = 30
PARTS = ("codes", "evaluate", "losses")

Found = dict[str, Any]


def hash_of(data: bytes) -> str:
    """Sixteen digits that tell codes or files apart."""
    return hashlib.sha256(data).hexdigest()[:16]


@contextmanager
def decoded_codes() -> Iterator[list[Tensor]]:
    """Every batch of codes that a tokenizer's stream is asked to decode."""
    stream, seen = type(VideoTokenizer.from_pretrained("natural").stream()), []
    decode = stream.decode

    def noting(self: Any, codes_BTHW: Tensor) -> Tensor:
        seen.append(codes_BTHW.clone())
        return decode(self, codes_BTHW)

    with patch.object(stream, "decode", noting):
        yield seen


def codes() -> Found:
    """Hashes of the codes of every prompt, in each way of asking for them."""
    pipeline = Pipeline.from_pretrained("shapes", device="cpu")
    frames = pipeline.model.task.config.latent_frames
    plain = dataclasses.replace(pipeline.model.sampling, **PLAIN)
    likeliest = dataclasses.replace(plain, temperature=0.0)
    found: Found = {}
    for name, run in {
        "alone": lambda: [pipeline(prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)],
        "batched": lambda: pipeline(PROMPTS, seed=range(len(PROMPTS))),
        "without guidance": lambda: pipeline(PROMPTS, seed=range(len(PROMPTS)), sampling=plain),
        "likeliest": lambda: pipeline(PROMPTS, sampling=likeliest),
        "short": lambda: pipeline(PROMPTS[:8], seed=5, num_samples=2, num_frames=9),
        "streamed": lambda: list(pipeline.stream(PROMPTS[:16], seed=range(16))),
    }.items():
        with decoded_codes() as seen:
            run()
        latents = 3 if name == "short" else frames
        batches = [torch.cat(seen[start : start + latents], dim=1) for start in range(0, len(seen), latents)]
        found[name] = [hash_of(x_THW.cpu().long().numpy().tobytes()) for x_BTHW in batches for x_THW in x_BTHW]
    return found


def videogpt(*arguments: object, folder: Path) -> None:
    """One command, in a process of its own."""
    command = [sys.executable, "-m", "videogpt", *map(str, arguments)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def evaluate() -> Found:
    """The figures of a report, but for the time that was taken."""
    with tempfile.TemporaryDirectory() as place:
        videogpt("evaluate", "--clips", 50, "--device", "cpu", "--output", "report.json", folder=Path(place))
        rows = json.loads((Path(place) / "report.json").read_text())["rows"]
    return {row["name"]: row["value"] for row in rows if row["unit"] != "s"}


def events_of(run: Path) -> Iterator[tuple[str, list[Any]]]:
    """What training logged: names, and the events of each in turn."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for file in sorted(run.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        yield from ((name, events.Scalars(name)) for name in events.Tags()["scalars"])


def logged(run: Path) -> Found:
    """What training logged at each step, by name, and the hash of the weights that came of it."""
    values: Found = {}
    for name, events in events_of(run):
        if name.startswith(("train/", "val/")):
            values.setdefault(name, {}).update({str(event.step): event.value for event in events})
    return values | {"weights": hash_of((run / "pretrained" / "model.safetensors").read_bytes())}


@contextmanager
def with_data() -> Iterator[Path]:
    """A folder to train both tiny configurations in."""
    with tempfile.TemporaryDirectory() as folder:
        videogpt("world", "shapes", "--output", "data/shapes-1k", "--clips", 48, "--seed", 1, folder=Path(folder))
        yield Path(folder)


def tokenize(folder: Path) -> None:
    """Make the tokens that the model learns from, by the tokenizer that was trained there."""
    made = ("--tokenizer", "runs/tiny-tokenizer/pretrained", "--device", "cpu", "--output", "tokens/shapes-1k")
    videogpt("tokenize", "data/shapes-1k", *made, folder=folder)


def losses() -> Found:
    """Training of both tiny configurations, and of the model's interrupted half way."""
    tokenizer, model = (ROOT / "configs" / kind / "tiny.yaml" for kind in ("tokenizer", "videogpt"))
    with with_data() as folder:

        def fit(config: Path, run: str, *more: object, steps: int = STEPS) -> Found:
            few = ("--trainer.log_every_n_steps", 1, "--trainer.val_check_interval", 15, "--trainer.accelerator", "cpu")
            place = ("--trainer.default_root_dir", run, "--trainer.max_steps", steps)
            videogpt("fit", "--config", config, *few, *place, *more, folder=folder)
            return logged(folder / run)

        found: Found = {"tokenizer": fit(tokenizer, "runs/tiny-tokenizer")}
        tokenize(folder)
        found["model"] = fit(model, "runs/tiny")
        found["model, no caption dropped"] = fit(model, "runs/whole", "--model.init_args.text.dropout", 0)
        # The end of the schedule is that of the whole run in both halves.
        fit(model, "runs/resumed", "--trainer.limit_train_batches", 15, "--trainer.max_epochs", 1)
        found["model, resumed"] = fit(model, "runs/resumed", "--resume", "must")
        found["tokens"] = hash_of((folder / "tokens" / "shapes-1k" / "codes.npy").read_bytes())
    return found


def time_samples() -> None:
    """Read seeds, and print the seconds of a guided sample of `shapes` for each."""
    pipeline = Pipeline.from_pretrained("shapes", device="cpu")
    for seed in sys.stdin:
        print(timeit(partial(pipeline, PROMPTS[0], seed=int(seed)), number=1), flush=True)


def time_steps() -> dict[str, float]:
    """Seconds of a training step of each tiny configuration: medians."""
    found: dict[str, float] = {}
    with with_data() as folder:
        few = ("--trainer.log_every_n_steps", 1, "--trainer.max_steps", 60, "--trainer.limit_val_batches", 1)
        for kind, run in (("tokenizer", "runs/tiny-tokenizer"), ("videogpt", "runs/tiny")):
            if kind == "videogpt":
                tokenize(folder)
            config = ROOT / "configs" / kind / "tiny.yaml"
            videogpt("fit", "--config", config, *few, "--trainer.accelerator", "cpu", folder=folder)
            found[f"{kind} step"] = _seconds_per_step(folder / run)
    return found


def _seconds_per_step(run: Path) -> float:
    """Median time between the steps of a run, by what it logged."""
    events = next(events for name, events in events_of(run) if name.startswith("train/"))
    times = [event.wall_time for event in events][10:]
    return median(after - before for before, after in pairwise(times))


def compare_times(before: Path, samples: int = 30, rounds: int = 3) -> None:
    """Let both checkouts run in turns, sample by sample and training by training; prints medians, and their ratio."""
    trees, found = (before.resolve(), ROOT.resolve()), dict[str, dict[Path, list[float]]]()

    def start(tree: Path, what: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(str(tree / folder) for folder in ("", "tokenizer", "kernels"))
        command = [sys.executable, str(tree / "tests" / Path(__file__).name), what]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, text=True, bufsize=1, **pipes)

    watches = {tree: start(tree, "samples") for tree in trees}
    for seed in range(samples):
        for tree in trees if seed % 2 else reversed(trees):
            watches[tree].stdin.write(f"{seed}\n")
            found.setdefault("sample", {}).setdefault(tree, []).append(float(watches[tree].stdout.readline()))
    for watch in watches.values():
        watch.communicate()
    for tree in trees * rounds:
        for name, seconds in json.loads(start(tree, "steps").communicate()[0].splitlines()[-1]).items():
            found.setdefault(name, {}).setdefault(tree, []).append(seconds)
    for name, by_tree in found.items():
        then, now = (median(by_tree[tree]) for tree in trees)
        print(f"{name}: {then:.4f} s before, {now:.4f} s now: {now / then:.2f}x")


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """A line for everything that is not the same."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{name}/{key}")]
    return [] if before == after else [f"{name}: {before} -> {after}"]


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare", "time", "samples", "steps"))
    parser.add_argument("file", type=Path, nargs="?", help="the record; for time, the checkout of before")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="all, unless given")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if arguments.what == "samples":  # of one checkout, for `time`
        time_samples()
        return 0
    if arguments.what == "steps":
        print(json.dumps(time_steps()))
        return 0
    if arguments.file is None:
        parser.error("name the file, or for time the checkout")
    if arguments.what == "time":
        compare_times(arguments.file)
        return 0
    after = {part: globals()[part]() for part in arguments.parts}
    if arguments.what == "record":
        arguments.file.write_text(json.dumps(after, indent=1) + "\n")
        return 0
    before = json.loads(arguments.file.read_text())
    lines = [line for part in arguments.parts for line in differences(before[part], after[part], part)]
    print("\n".join(lines) or f"unchanged: {', '.join(arguments.parts)}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
