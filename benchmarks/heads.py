"""What a head and an embedding of levels are worth: bits per code after trainings of the same time.

    python benchmarks/heads.py [--quick] [--output FILE.json]
    python benchmarks/heads.py --tokens tokens/shapes --tokenizer shapes --minutes 10 [--only flat levels]
    python benchmarks/heads.py --tokens tokens/films --unseen tokens/films-unseen --tokenizer natural --minutes 15

Every training reads the same rows in the same order, from the same seed, with the same layers, and takes steps until
its own seconds of processor time are used up; they take turns, so that a busy machine disturbs all alike. Their
learning rate follows these seconds, too. Figures are those of averaged weights on clips not trained on; `flat`, one
softmax over all codes, is the rival of all others. A ratio above 1 is in our favour. One seed.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _program import command, options, publish

from videogpt.evaluation.report import Report
from videogpt.layouts.config import LayoutConfig, LayoutRules
from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.layouts.vocabulary import Vocabulary
from videogpt.model.config import VideoGPTConfig
from videogpt.model.heads import levels_of
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT
from videogpt.pipeline.names import load_tokenizer
from videogpt.tokens.batches import TokenData
from videogpt.tokens.writer import tokenize_clips
from videogpt.training.captions import TextConfig, pack_rows
from videogpt.worlds.writer import write_world
from videogpt_tokenizer import TextTokenizer
from videogpt_tokenizer.optim.averages import averaged
from videogpt_tokenizer.optim.configure import OptimizerConfig, configure, learning_rate_share
from videogpt_tokenizer.optim.precision import fast_autocast
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

VARIANTS: dict[str, dict[str, Any]] = {
    "flat": {},
    "flat, embedding of levels": {"embedding": "levels"},
    "levels, embedding of a table": {"head": "levels"},
    "levels": {"head": "levels", "embedding": "levels"},
}
LAYERS = VideoGPTConfig(width=192, depth=6, heads=3, kv_heads=1)
OPTIMIZER = OptimizerConfig(kind="muon", learning_rate=5e-3, weight_decay=0.1, warmup_steps=50, ema_decay=0.998)
SCHEDULE_STEPS = 1000
"""The learning rate is that of a training of so many steps, at the same share of its time."""
TURN_SECONDS = 2.0
PROTOCOL = (
    "{minutes:g} minutes of processor time of one thread for each, {batch} rows a step, width 192, depth 6, Muon; "
    "averaged weights, on clips not trained on"
)


class Training:
    """One variant on its way."""

    def __init__(
        self, config: VideoGPTConfig, vocabulary: Vocabulary, batches: Iterator[TrainingSequence], seconds: float
    ) -> None:
        self.network, self.vocabulary, self.batches, self.limit = VideoGPT(config), vocabulary, batches, seconds
        self.average = averaged(self.network, OPTIMIZER.ema_decay)
        self.optimizer, _ = configure(self.network, OPTIMIZER, SCHEDULE_STEPS, self.network.outer_matrices)
        self.seconds, self.steps = 0.0, 0

    def turn(self) -> None:
        """Steps for some seconds, or to the end."""
        until = min(self.seconds + TURN_SECONDS, self.limit)
        while self.seconds < until:
            self.step()

    def step(self) -> None:
        """One step of the optimiser, on the next rows."""
        batch, start = next(self.batches), time.process_time()  # rows are packed by others in a real training
        share = learning_rate_share(int(SCHEDULE_STEPS * self.seconds / self.limit), OPTIMIZER, SCHEDULE_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = OPTIMIZER.learning_rate * share
        with fast_autocast(torch.device("cpu")):
            nats_BN = row_nats(self.network, batch, self.vocabulary)
            loss = (nats_BN * batch.loss_weight_BN).sum() / batch.loss_weight_BN.sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.steps += 1
        self.seconds += time.process_time() - start

    @torch.no_grad()
    def bits(self, unseen: Iterable[TrainingSequence]) -> float:
        """Bits per code of the averaged weights."""
        nats, codes = 0.0, 0
        network = self.average.module
        assert isinstance(network, VideoGPT)
        network.eval()
        for batch in unseen:
            nats_BM = row_nats(network, batch, self.vocabulary)[:, batch.rows_of("video")]
            nats, codes = nats + float(nats_BM.double().sum()), codes + nats_BM.numel()
        return nats / codes / math.log(2)


def endless(batches: Iterable[TrainingSequence]) -> Iterator[TrainingSequence]:
    while True:
        yield from batches


def main() -> None:
    parser = options(__doc__, quick="few clips of the shapes world, seconds of training: only that it runs")
    parser.add_argument("--tokens", metavar="DIR", help="token shards to train on")
    parser.add_argument(
        "--unseen", metavar="DIR", help="token shards to measure on (a 20th of the clips of the others)"
    )
    parser.add_argument(
        "--tokenizer", default="shapes", metavar="DIR|NAME", help="the tokenizer that made them (shapes)"
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="processor time of each training (10)")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="rows of a step (8)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and order (0)")
    names = ", ".join(map(repr, VARIANTS))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help=f"of {names}")
    args = parser.parse_args()
    if not args.quick and not args.tokens:
        parser.error("give --tokens, a folder that videogpt tokenize has made, or --quick")
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(args.tokenizer)
    with tempfile.TemporaryDirectory() as made:
        if args.quick:
            list(write_world(Path(made) / "clips", clips=24, seed=0))
            args.tokens, args.minutes = f"{made}/tokens", 2 / 60
            tokenize_clips(f"{made}/clips", tokenizer, args.tokens, num_frames=17, size=64)
        publish(compare(args, tokenizer), args.output)


def compare(args: argparse.Namespace, tokenizer: VideoTokenizer) -> Report:
    """All variants on the same rows."""
    shards = {"folder": args.tokens, "validation_folder": args.unseen, "batch_size": args.batch_size, "seed": args.seed}
    data = TokenData(**shards)
    text_tokenizer = TextTokenizer.train(data.captions(), vocab_size=512)
    time_, height, width = data.manifest.grid
    sizes: dict[str, Any] = {"text_vocab_size": text_tokenizer.vocab_size, "codebook_size": tokenizer.codebook_size}
    grid: dict[str, Any] = {"latent_frames": time_, "latent_height": height, "latent_width": width}
    task = TextToVideo(LayoutConfig(**sizes, **grid, rules=LayoutRules()))
    pack = partial(pack_rows, task=task, text_tokenizer=text_tokenizer, text=TextConfig())
    levels = levels_of(tokenizer.config.quantizer, tokenizer.codebook_size)
    codes = {
        "vocab_size": task.vocabulary.size,
        "code_levels": levels,
        "code_start": task.vocabulary.ids["video"].start,
    }

    trainings: dict[str, Training] = {}
    for name in args.only or VARIANTS:
        data = TokenData(**shards)
        data.collate_training = data.collate_validation = pack
        torch.manual_seed(args.seed)
        config = replace(LAYERS, **codes, **VARIANTS[name])
        batches = endless(data.train_dataloader())
        trainings[name] = Training(config, task.vocabulary, batches, 60 * args.minutes)
    while any(training.seconds < training.limit for training in trainings.values()):
        for training in trainings.values():
            training.turn()
    clips = {"codes": tokenizer.codebook_size, "levels": levels, "clips": len(data.captions())}
    report = Report.start(command(), {"what": PROTOCOL.format(minutes=args.minutes, batch=args.batch_size), **clips})
    figures = {name: training.bits(data.val_dataloader()) for name, training in trainings.items()}
    for name, training in trainings.items():
        rival = {"rival": "flat", "rival_value": figures["flat"]} if name != "flat" and "flat" in figures else {}
        report.add(f"{name}: bits per code", figures[name], "bits", **rival)
        report.add(f"{name}: steps", training.steps, "")
        report.add(f"{name}: parameters", training.network.num_parameters / 1e6, "M")
    return report


if __name__ == "__main__":
    main()
