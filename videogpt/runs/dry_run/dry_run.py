"""`videogpt fit --dry-run`: what a fit would take, before it is begun. Writes nothing.

    print(dry_run(trainer, module, data).text())

Data are opened, and a batch is loaded. Two steps are then taken on tensors without memory: they give parameters, FLOPs
and bytes. The operations of a step are timed one by one on this machine, which gives the time. What the module and the
data have to say is asked through `sizes`, `of_few_clips`, `batches_per_epoch` and `memory_bytes`, where they have them.
"""

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    unset_fake_temporarily,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from videogpt.runs.dry_run.recorder import Call, Recorder, fake_tensors
from videogpt.runs.dry_run.replay import seconds_between_calls, seconds_of_calls
from videogpt.runs.dry_run.schedule import Schedule, schedule_of
from videogpt_kernels import Visibility
from videogpt_tokenizer.optim.precision import bfloat16_is_fast

SECONDS_OF_TIMING = 20.0
_LOOKED_AT = 4  # batches whose loading is timed
_KEPT_BY_HEAP = 1.2  # memory that a CPU's heap holds over what is asked for: measured on seven of our configurations
_FIRST_USE = 85e6  # bytes that libraries take at their first use on a CPU: likewise
_BETWEEN_STEPS = 0.005  # what Lightning, its callbacks and its loggers take at a step
_UNKNOWN = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    GuardOnDataDependentSymNode,
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step of one process takes."""

    flops: int
    state_bytes: int
    """Weights, their average and what the optimiser keeps."""
    peak_bytes: int
    """With gradients and activations, where they are most."""
    seconds: float
    validation_seconds: float
    """Of one batch."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a fit would take."""

    parameters: int
    learning: int
    """Of these, what the optimiser changes."""
    sizes: dict[str, int]
    """What a step of all processes is made from, by name."""
    processes: int
    schedule: Schedule
    step: Step | None
    """None where an operation depends on numbers, which nobody has yet."""
    data_bytes: int
    loading_seconds: float
    """That a step waits for its batches."""
    device: str

    @property
    def seconds_per_step(self) -> float:
        """With loading."""
        return math.nan if self.step is None else self.step.seconds + self.loading_seconds + _BETWEEN_STEPS

    @property
    def seconds(self) -> float:
        """Of the run from now on, with its validations."""
        if self.step is None:
            return math.nan
        plan = self.schedule
        validating = plan.validations * plan.batches_per_validation * self.step.validation_seconds
        return plan.steps * self.seconds_per_step + validating

    def text(self) -> str:
        """One line for each figure."""
        of_each = f", in each of {self.processes} processes" if self.processes > 1 else ""
        learning = "" if self.learning == self.parameters else f" ({self.learning:,} of them learn)"
        lines = {"parameters": f"{self.parameters:,}{learning}"}
        lines |= {f"{name} per step": f"{count:,}" for name, count in self.sizes.items()}
        if self.step is None:
            lines["FLOPs, memory, time"] = "not known: an operation of the step depends on what it computes"
        else:
            data = f", and {_bytes(self.data_bytes)} of decoded clips" if self.data_bytes else ""
            lines["FLOPs per step"] = f"{self.step.flops:.4g}{of_each}"
            lines["memory"] = (
                f"{_bytes(self.step.peak_bytes)} at the most, {_bytes(self.step.state_bytes)} of it state, beside what "
                f"Python and PyTorch take{data}{of_each}"
            )
            lines["time per step"] = f"{self.seconds_per_step:.3g} s on {self.device}"
        plan = self.schedule
        lines["steps"] = f"{plan.steps:,}" if math.isfinite(plan.steps) else "without end: see trainer.max_steps"
        if self.step is not None and math.isfinite(plan.steps):
            what = f"{plan.validations:,.0f} validations of {plan.batches_per_validation} batches among it"
            lines["time"] = f"{_duration(self.seconds)}, {what}"
        width = max(map(len, lines))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


class _Standin:
    """What a module asks its trainer for."""

    is_global_zero, global_step, current_epoch, sanity_checking, fast_dev_run = True, 0, 0, False, False

    def __init__(self, trainer: Trainer, data: Any) -> None:
        self.default_root_dir, self.precision, self.datamodule = trainer.default_root_dir, trainer.precision, data
        self.estimated_stepping_batches: float = 0


def dry_run(trainer: Trainer, module: LightningModule, data: Any, done: int = 0) -> Outlook:
    """Reckon what a fit would take that has done so many steps. Raises what the fit would raise before its first.

    The module is of no use afterwards: its weights have no memory.
    """
    fakes = fake_tensors()
    device = trainer.strategy.root_device
    bfloat16_is_fast(device.type)  # timed once, which takes real numbers
    few = data.of_few_clips() if hasattr(data, "of_few_clips") else data
    stand_in = _Standin(trainer, data)
    module.trainer = stand_in  # type: ignore[assignment]
    module.prepare_data()
    few.setup("fit")
    stand_in.datamodule = few
    module.making_network = lambda: fakes  # type: ignore[assignment]
    module.configure_model()
    module.setup("fit")
    _forget_weights(module, fakes)
    batches, loading = _some_batches(few)
    epoch = data.batches_per_epoch() if few is not data else (len(few.train_dataloader()), len(few.val_dataloader()))
    plan = schedule_of(trainer, batches_per_epoch=_shared(epoch, trainer.world_size), done=done)
    stand_in.estimated_stepping_batches = plan.total_steps
    sizes, largest = {}, batches[0]
    if hasattr(module, "sizes"):  # batches of several tasks are not alike: the largest bounds memory
        largest = max(batches, key=lambda batch: sum(module.sizes(batch).values()))  # type: ignore[operator]
        sizes = module.sizes(largest)  # type: ignore[operator]
    batch = move_data_to_device(largest, device)
    try:
        step = _step(trainer, module.to(device) if device.type != "cpu" else module, batch, fakes, plan)
    except _UNKNOWN:
        step = None
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    averages = {id(weight) for weight in getattr(module, "average", nn.Module()).parameters()}
    weights = [weight for weight in module.parameters() if id(weight) not in averages]
    return Outlook(
        parameters=sum(weight.numel() for weight in weights),
        learning=sum(weight.numel() for weight in learning),
        sizes={name: count * trainer.world_size * plan.batches_per_step for name, count in sizes.items()},
        processes=trainer.world_size,
        schedule=plan,
        step=step,
        data_bytes=data.memory_bytes(few) if few is not data else 0,
        loading_seconds=loading * plan.batches_per_step,
        device=f"{device.type} with {torch.get_num_threads()} threads" if device.type == "cpu" else str(device),
    )


def _forget_weights(module: nn.Module, fakes: FakeTensorMode) -> None:
    """Put tensors without memory in place of those that the module has brought along."""
    fake_of: dict[int, Tensor] = {}

    def fake(x: Tensor) -> Tensor:
        if x.ndim == 0 and not isinstance(x, nn.Parameter):  # a counter or a flag, which is asked for its number
            number = x.item()
            with fakes:
                return torch.tensor(number, dtype=x.dtype)
        found = fakes.from_tensor(x.detach(), static_shapes=True)
        return nn.Parameter(found, requires_grad=x.requires_grad) if isinstance(x, nn.Parameter) else found

    for part in module.modules():
        for tensors in (vars(part)["_parameters"], vars(part)["_buffers"]):
            for name, x in tensors.items():
                if x is not None and not isinstance(x, FakeTensor):
                    tensors[name] = fake_of[id(x)] = fake_of[id(x)] if id(x) in fake_of else fake(x)


def _some_batches(data: Any) -> tuple[list[Any], float]:  # and seconds that a step waits for one
    batches, times = [], []
    batches_in_turn = iter(data.train_dataloader())
    for _ in range(_LOOKED_AT):
        start = time.perf_counter()
        batches += islice(batches_in_turn, 1)
        times.append(time.perf_counter() - start)
        if len(batches) < len(times):
            break
    waits = not getattr(data, "num_workers", 0)
    return batches, median(times[1:] or times) if waits else 0.0


def _shared(epoch: tuple[int, int], processes: int) -> tuple[int, int]:
    return -(-epoch[0] // processes), -(-epoch[1] // processes)


def _step(trainer: Trainer, module: LightningModule, batch: Any, fakes: FakeTensorMode, plan: Schedule) -> Step:
    """Take two steps without memory, the second of which has all that the optimiser keeps; then time it."""
    module.log = module.log_dict = _ignore  # type: ignore[method-assign]
    static = {x.untyped_storage()._cdata: x.nbytes for x in (*module.parameters(), *module.buffers())}
    phases: list[Counter[Call]] = [Counter(), Counter(), Counter()]
    with _plainly(), _real_masks(), fakes, Recorder() as recorder:
        configured: Any = module.configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        for _ in range(2):
            recorder.flops = 0
            with recorder.calls_into(phases[0]), trainer.precision_plugin.forward_context():
                output = module.training_step(batch, 0)
            loss = output["loss"] if isinstance(output, dict) else output
            assert isinstance(loss, Tensor)
            with recorder.calls_into(phases[1]):
                optimizer.zero_grad()
                loss.backward()
            of_batch = recorder.flops
            with recorder.calls_into(phases[2]):
                if trainer.gradient_clip_val:
                    nn.utils.clip_grad_norm_(module.parameters(), float(trainer.gradient_clip_val))
                module.optimizer_step(0, 0, optimizer, None)
            del output, loss
        state = sum(static.values()) + sum(
            x.nbytes for kept in optimizer.state.values() for x in kept.values() if isinstance(x, Tensor)
        )
    seconds = seconds_of_calls({*phases[0], *phases[1], *phases[2]}, SECONDS_OF_TIMING)
    # A GPU computes meanwhile.
    between = seconds_between_calls() if trainer.strategy.root_device.type == "cpu" else 0.0
    forward, backward, update = (sum((seconds[call] + between) * n for call, n in each.items()) for each in phases)
    times = plan.batches_per_step
    return Step(
        flops=of_batch * times + recorder.flops - of_batch,
        state_bytes=state,
        peak_bytes=_held(state, sum(static.values()) + recorder.peak_bytes, trainer.strategy.root_device),
        seconds=(forward + backward) * times + update,
        validation_seconds=forward,
    )


def _ignore(*_: Any, **__: Any) -> None:
    """In place of logging, for which a module needs a trainer that trains."""


def _held(state: int, peak: int, device: torch.device) -> int:
    """Bytes that a process grows by, where it asks for `peak` at the most."""
    if device.type != "cpu":
        return peak
    return round(state + _KEPT_BY_HEAP * (peak - state) + _FIRST_USE)


@contextmanager
def _plainly() -> Iterator[None]:
    """Without warnings, and with everything that is to be compiled run as it is: there is nothing to compile for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compiler.set_stance("force_eager")
        try:
            yield
        finally:
            torch.compiler.set_stance("default")


@contextmanager
def _real_masks() -> Iterator[None]:
    """With what attention derives of a batch made of its numbers: they are there, and decide which keys are read."""
    once = Visibility.once

    def with_numbers(self: Visibility, kind: str, key: Hashable, build: Callable[[], Any]) -> Any:
        def outside() -> Any:
            with unset_fake_temporarily():
                return build()

        return once(self, kind, key, outside)

    Visibility.once = with_numbers  # type: ignore[method-assign]
    try:
        yield
    finally:
        Visibility.once = once  # type: ignore[method-assign]


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"
