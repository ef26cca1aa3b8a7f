"""Time training steps of the language model, and hold `fit --dry-run` against real fits.

    python benchmarks/training.py [--quick] [--parts speed choices data dry-run] [--threads 2] [--output FILE.json]

The rival of a step is transformers' Llama of the same width, depth, heads, feed-forward width and vocabulary, on the
same rows in the same types, with torch's attention: forward, loss, backward, clipping and fused AdamW of both; ours
also averages its weights. It comes with `pip install -e '.[rivals]'` and is left out where it is not installed. Choices
are compared with the plain step. The dry run is told before, and what is measured is a fit of some steps, in processes
of their own. A ratio above 1 is in our favour; that of the dry run is measured over told.
"""

import copy
import dataclasses
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from _program import command, leave_out, medians, options, publish, require_near
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videogpt.evaluation.report import Report
from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.task import Example, Task, find_task
from videogpt.model.config import VideoGPTConfig
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT
from videogpt.pipeline.pipeline import Pipeline
from videogpt.tokens.reader import TokenRow
from videogpt.training.blocks import BlocksConfig, prepare_blocks
from videogpt.training.captions import TextConfig, pack_rows
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt_tokenizer.optim.averages import averaged
from videogpt_tokenizer.optim.configure import OptimizerConfig, configure
from videogpt_tokenizer.optim.precision import bfloat16_is_fast

# B sequences, N rows
ROOT = Path(__file__).parents[1]
PARTS = ("speed", "choices", "data", "dry-run")
CLIPS, WORDS = 8, 30
TEXT_VOCAB, CODES, FRAMES, SIDE = 512, 1000, 5, 8
MODEL = VideoGPTConfig(width=384, depth=6, heads=6, kv_heads=2)
CHOICES = {
    "blocks compiled": {"blocks": BlocksConfig(compiled=True)},
    "blocks checkpointed": {"blocks": BlocksConfig(checkpointed=True)},
    "Muon": {"kind": "muon"},
    "optimiser not fused": {"fused": False},
}
DRY_RUNS = {
    "videogpt/tiny": (),
    "videogpt/shapes": (),
    "videogpt/sprites": (),
    "videogpt/base": ("--data.init_args.batch_size=1", "--data.init_args.num_workers=0"),
    "tokenizer/tiny": (),
    "tokenizer/shapes": (),
    "tokenizer/sprites": (),
}
STEPS = 14
TURNS = 3
"""Of a dry run and a fit; medians count, as a machine is not always as quick."""
TOLD = {"parameters": r"parameters +([\d,]+)", "FLOPs": r"FLOPs per step +([\d.e+]+)"}
TOLD |= {"memory": r"memory +([\d.]+) (MB|GB)", "time": r"time per step +([\d.]+)"}


def make_task() -> Task:
    sizes: dict[str, Any] = {"latent_frames": FRAMES, "latent_height": SIDE, "latent_width": SIDE}
    config = LayoutConfig(text_vocab_size=TEXT_VOCAB, codebook_size=CODES, max_text_tokens=48, **sizes)
    return find_task("text_to_video")(config)


def make_batch(task: Task, device: str) -> TrainingSequence:
    """Captions of one length, so that the rival computes nothing for padding."""
    draw = torch.Generator().manual_seed(0)
    texts = torch.randint(TEXT_VOCAB, (CLIPS, WORDS), generator=draw).tolist()
    codes = torch.randint(CODES, (CLIPS, FRAMES, SIDE, SIDE), generator=draw)
    return task.pack([Example(text, codes_THW) for text, codes_THW in zip(texts, codes, strict=True)]).to(device)


class Ours:
    """A network of ours and all that a step of training does to it."""

    def __init__(
        self,
        task: Task,
        network: VideoGPT,
        dtype: torch.dtype,
        *,
        kind: Any = "adamw",
        fused: bool = True,
        blocks: BlocksConfig | None = None,
    ) -> None:
        self.task, self.network, self.dtype = task, network, dtype
        self.average = averaged(network, 0.999)
        prepare_blocks(network, blocks or BlocksConfig())
        assert network.head is not None
        outer = [network.embedding.weight, network.head.weight]
        self.optimizer, _ = configure(network, OptimizerConfig(kind=kind), 1000, outer)
        for group in self.optimizer.param_groups:
            group["fused"] = fused

    def loss(self, batch: TrainingSequence) -> Tensor:
        with torch.autocast(batch.ids_BN.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            nats_BN = row_nats(self.network, batch, self.task.vocabulary)
            return (nats_BN * batch.loss_weight_BN).sum() / batch.loss_weight_BN.sum()

    def step(self, batch: TrainingSequence) -> None:
        learn(self.loss(batch), self.network, self.optimizer)
        self.average.update_parameters(self.network)


def learn(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


class Llama:
    """The rival. ImportError where transformers is not installed."""

    def __init__(self, vocab_size: int, dtype: torch.dtype, device: str) -> None:
        transformers: Any = import_module("transformers")  # not there for who checks types
        settings: dict[str, Any] = {"use_cache": False, "attn_implementation": "sdpa"}
        config = transformers.LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=MODEL.width,
            intermediate_size=MODEL.mlp_width,
            num_hidden_layers=MODEL.depth,
            num_attention_heads=MODEL.heads,
            num_key_value_heads=MODEL.kv_heads,
            tie_word_embeddings=False,
            **settings,
        )
        network: Any = transformers.LlamaForCausalLM(config)
        self.network, self.dtype = network.to(device).train(), dtype
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, fused=True)

    def step(self, batch: TrainingSequence) -> None:
        ids_BN = batch.ids_BN
        with torch.autocast(ids_BN.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            loss = self.network(input_ids=ids_BN, labels=ids_BN).loss
        learn(loss, self.network, self.optimizer)


def product_rate(dtype: torch.dtype, device: str, rounds: int) -> float:
    """FLOPs a second of a large product: what a step could reach at the most."""
    side = 8192 if device == "cuda" else 2048
    x = torch.ones(side, side, dtype=dtype, device=device)

    def product() -> None:
        torch.mm(x, x)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    product()
    return 2 * side**3 / (medians([product], rounds)[0] / 1e3)


def speed(report: Report, dtypes: list[torch.dtype], device: str, rounds: int) -> None:
    """Rows a second against the rival, and the share of what a large product reaches."""
    task = make_task()
    batch, vocab_size = make_batch(task, device), task.vocabulary.size
    rows = batch.ids_BN.numel()
    for dtype in dtypes:
        network = VideoGPT(dataclasses.replace(MODEL, vocab_size=vocab_size)).to(device)
        ours = Ours(task, network, dtype)
        runs: list[Callable[[], object]] = [partial(ours.step, batch)]
        with leave_out("transformers", ImportError):
            rival = Llama(vocab_size, dtype, device)
            sizes = [sum(x.numel() for x in each.network.parameters()) for each in (ours, rival)]
            assert abs(sizes[0] / sizes[1] - 1) < 1e-3, "the rival is of another size"
            runs.append(partial(rival.step, batch))
        with FlopCounterMode(display=False) as counter:
            ours.step(batch)
        for run in runs[1:]:
            run()
        rates = [1e3 * rows / milliseconds for milliseconds in medians(runs, rounds)]
        name = f"training step, {str(dtype).removeprefix('torch.')}"
        against = {"rival": "transformers Llama", "rival_value": rates[1]} if len(rates) > 1 else {}
        report.add(name, rates[0], "rows/s", lower_is_better=False, **against)
        most, reached = product_rate(dtype, device, rounds), counter.get_total_flops() * rates[0] / rows
        report.add(f"{name}, share of a large product's rate", 100 * reached / most, "%", lower_is_better=False)


def choices(report: Report, dtypes: list[torch.dtype], device: str, rounds: int) -> None:
    """What the settings buy, and what they cost."""
    task = make_task()
    batch = make_batch(task, device)
    for dtype in dtypes:
        network = VideoGPT(dataclasses.replace(MODEL, vocab_size=task.vocabulary.size)).to(device)
        ways = {"plain": Ours(task, copy.deepcopy(network), dtype)}
        expected = ways["plain"].loss(batch)
        for name, settings in CHOICES.items():
            with leave_out(name, ValueError):  # where there is no compiler
                ways[name] = Ours(task, copy.deepcopy(network), dtype, **settings)
                require_near(ways[name].loss(batch), expected, 1e-3)
        for way in ways.values():
            way.step(batch)
        times = medians([partial(way.step, batch) for way in ways.values()], rounds)
        plain, *rates = (1e3 * batch.ids_BN.numel() / milliseconds for milliseconds in times)
        for name, rate in zip(list(ways)[1:], rates, strict=True):
            what = f"training step, {str(dtype).removeprefix('torch.')}, {name}"
            report.add(what, rate, "rows/s", lower_is_better=False, rival="plain", rival_value=plain)
        plain, kept = (kept_bytes(ways[name].loss, batch) / 1e6 for name in ("plain", "blocks checkpointed"))
        name = f"kept for the backward pass, {str(dtype).removeprefix('torch.')}, blocks checkpointed"
        report.add(name, kept, "MB", rival="plain", rival_value=plain)


def kept_bytes(loss: Callable[[TrainingSequence], Tensor], batch: TrainingSequence) -> int:
    """What autograd keeps, with the weights."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found = loss(batch)
    del found
    return sum(kept.values())


def data(report: Report, dtypes: list[torch.dtype], device: str, rounds: int) -> None:
    """Captions of the shapes world: what packing takes, and what training without padding saves."""
    model = Pipeline.from_pretrained("shapes", device="cpu").model
    world, draw = ShapesWorld(), torch.Generator().manual_seed(0)
    rows = []
    for number in range(CLIPS):
        codes_THW = torch.randint(CODES, (FRAMES, SIDE, SIDE), generator=draw)
        caption = world.caption(world.scene(0, number), world.caption_rng(0, number))
        rows.append(TokenRow(codes_THW, caption))
    pack = partial(pack_rows, rows, task=model.task, text_tokenizer=model.text_tokenizer, text=TextConfig())
    padded, joined = (pack(without_padding=without).to(device) for without in (False, True))
    network = VideoGPT(dataclasses.replace(MODEL, vocab_size=model.task.vocabulary.size)).to(device)
    ways = [Ours(model.task, copy.deepcopy(network), dtypes[-1]) for _ in range(2)]
    require_near(ways[1].loss(joined), ways[0].loss(padded), 1e-2)
    runs: list[Callable[[], object]] = [
        partial(ways[0].step, padded),
        partial(ways[1].step, joined),
        pack,
        partial(pack, without_padding=True),
    ]
    for run in runs:
        run()
    step, without, packing, joining = medians(runs, rounds)
    for name, milliseconds, of in (("", packing, step), (", without padding", joining, without)):
        report.add(f"packing a batch{name}, share of a step", 100 * milliseconds / of, "%")
    predicted = int((padded.loss_weight_BN > 0).sum())
    rates = [1e3 * predicted / milliseconds for milliseconds in (without, step)]
    share = 100 * (1 - joined.ids_BN.numel() / padded.ids_BN.numel())
    name = f"tokens predicted, without padding ({share:.0f} % of the rows)"
    report.add(name, rates[0], "tokens/s", lower_is_better=False, rival="with padding", rival_value=rates[1])


def dry_runs(report: Report, names: list[str], threads: int) -> None:
    """Told and measured, of fits of clips and codes that are made here."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        videogpt("world", "shapes", "--output", "clips", "--clips", "64", "--seed", "1", folder=folder)
        videogpt("tokenize", "clips", "--tokenizer", "shapes", "--output", "tokens", "--device", "cpu", folder=folder)
        for name in names:
            kind = name.partition("/")[0]
            given = ["fit", "--config", ROOT / "configs" / f"{name}.yaml", *DRY_RUNS[name]]
            given += ["--trainer.accelerator=cpu", "--trainer.default_root_dir=run"]
            given += [f"--data.init_args.folder={'clips' if kind == 'tokenizer' else 'tokens'}"]
            given += ["--model.init_args.tokenizer=shapes"] if kind == "videogpt" else []
            probe = ["--trainer.callbacks+=_fit_probe.FitProbe", "--trainer.callbacks.file=found.json"]
            few = [
                f"--trainer.max_steps={STEPS}",
                "--trainer.limit_val_batches=0",
                "--checkpoint.every_n_train_steps=999",
            ]
            told, found = [], []
            for _ in range(TURNS):
                told.append(_figures(videogpt(*given, "--dry-run", folder=folder, threads=threads)))
                videogpt(*given, *few, *probe, "--resume=never", folder=folder, threads=threads)
                found.append(json.loads((folder / "found.json").read_text()))
                shutil.rmtree(folder / "run")
            for figure in TOLD:
                number, measured = (statistics.median(turn[figure] for turn in turns) for turns in (told, found))
                unit = {"memory": "bytes", "time": "s"}.get(figure, "")
                report.add(f"dry run of {name}, {figure}", number, unit, rival="measured", rival_value=measured)


def _figures(told: str) -> dict[str, float]:
    """What a dry run has told, in bytes and seconds."""
    figures = {}
    for figure, pattern in TOLD.items():
        match = re.search(pattern, told)
        assert match, f"{figure} is not in what the dry run told: {told}"
        unit = {"MB": 1e6, "GB": 1e9}.get(match[2], 1) if match.lastindex == 2 else 1
        figures[figure] = float(match[1].replace(",", "")) * unit
    return figures


def videogpt(*arguments: object, folder: Path, threads: int = 1) -> str:
    """One command in a process of its own; what it printed."""
    path = os.pathsep.join([str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    run = [sys.executable, "-m", "videogpt", *map(str, arguments)]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    parser = options(__doc__, quick="fewer rounds, and speed and data alone")
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of a CPU (2)")
    parser.add_argument("--configs", nargs="+", choices=DRY_RUNS, default=list(DRY_RUNS), help="of the dry run")
    arguments = parser.parse_args()
    parts = arguments.parts or (("speed", "data") if arguments.quick else PARTS)
    rounds = 3 if arguments.quick else 11
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = [torch.float32, torch.bfloat16] if bfloat16_is_fast(device) else [torch.float32]
    protocol = {"rounds": rounds, "statistic": "medians of rounds in turns, wall time", "threads": arguments.threads}
    protocol |= {"device": device, "model": dataclasses.asdict(MODEL), "clips": CLIPS}
    protocol |= {"steps of a fit": STEPS, "turns of a fit and its dry run": TURNS}
    report = Report.start(command(), protocol)
    for name, part in {"speed": speed, "choices": choices, "data": data}.items():
        if name in parts:
            part(report, dtypes, device, rounds)
    if "dry-run" in parts:
        dry_runs(report, arguments.configs, arguments.threads)
    publish(report, arguments.output)


if __name__ == "__main__":
    main()
