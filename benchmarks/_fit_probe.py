"""A callback that writes down what a fit really takes: seconds of its steps, memory, and FLOPs of one step.

videogpt fit ... --trainer.callbacks+=_fit_probe.FitProbe --trainer.callbacks.file=found.json
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode


def resident(field: str) -> int:
    """Bytes of this process that are in memory: `VmRSS` now, `VmHWM` at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


class FitProbe(Callback):
    """The last step's FLOPs are counted, which takes memory and time: it is not among the others."""

    def __init__(self, file: str) -> None:
        self.file, self.ends = Path(file), list[float]()
        self.before = self.peak = 0
        self.counter: FlopCounterMode | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.before = resident("VmRSS")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == trainer.max_steps - 1:
            self.peak = resident("VmHWM")
            self.counter = FlopCounterMode(display=False)
            self.counter.__enter__()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.counter is None:
            self.ends.append(time.perf_counter())
            return
        self.counter.__exit__(None, None, None)
        average: Any = trainer.lightning_module.average
        averages = {id(weight) for weight in average.parameters()}
        weights = [weight for weight in trainer.lightning_module.parameters() if id(weight) not in averages]
        steps = [after - before for before, after in zip(self.ends[2:], self.ends[3:], strict=False)]
        found = {
            "parameters": sum(weight.numel() for weight in weights),
            "FLOPs": self.counter.get_total_flops(),
            "memory": self.peak - self.before,
            "time": statistics.median(steps),
        }
        self.file.write_text(json.dumps(found))
