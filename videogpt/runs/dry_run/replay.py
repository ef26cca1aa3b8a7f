"""How long recorded operations take on this machine, each run by itself on numbers of no meaning.

    seconds = seconds_of_calls(calls, budget=20.0)
    between = seconds_between_calls()
    total = sum((seconds[call] + between) * count for call, count in calls.items())

Every kind of operation is timed with the very shapes and strides of the step, the shortest first, until the budget is
spent; what is longer is reckoned from the longest of its kind. Lists of tensors, as optimisers give them, are cut short
and reckoned by their numbers. Each run has inputs of its own, and results stay until the last: a step, too, reads and
writes memory that no cache holds. What Python and autograd take from one operation to the next is that of a network
which computes next to nothing.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from videogpt.runs.dry_run.recorder import Call, Recorder, TensorSpec

_MOST_BYTES = 2**28
_MOST_LISTED = 2**26
_REPEATS = 3
_SMALL_STEPS = 30


def seconds_of_calls(calls: Iterable[Call], budget: float) -> dict[Call, float]:
    """Seconds of each, asking for about `budget` seconds of the machine and 2 GiB of its memory."""
    found: dict[Call, float] = {}
    known: dict[Any, tuple[int, float]] = {}  # of each operation the size and the seconds of the longest that was timed
    rate = math.inf  # bytes a second of the longest that computes next to nothing
    spent = 0.0
    for call in sorted(calls, key=lambda call: (_size(call), str(call.operation))):
        size, seconds = known.get(call.operation, (0, 0.0))
        expected = seconds * _size(call) / max(size, 1)
        share = _share(call)  # a tiny group of an optimiser says little of a large one, which can be cut and timed
        if size and (spent + (1 + _REPEATS) * expected * share > budget or call.num_bytes * share > _MOST_BYTES):
            found[call] = expected
            continue
        start = time.perf_counter()
        timed = _timed(call)
        spent += time.perf_counter() - start
        if timed is not None:
            known[call.operation] = (_size(call), timed)
            rate = rate if call.flops or not timed else call.num_bytes / timed
        elif not size:
            expected = call.num_bytes / rate
        found[call] = expected if timed is None else timed
    return found


def seconds_between_calls() -> float:
    """What a step takes for an operation beside computing it: modules of Python, nodes of autograd."""
    layers = (layer for _ in range(16) for layer in (nn.Linear(8, 8), nn.SiLU(), nn.LayerNorm(8)))
    network, x = nn.Sequential(*layers), torch.ones(4, 8)
    calls: Counter[Call] = Counter()
    with Recorder() as recorder, recorder.calls_into(calls):
        network(x).sum().backward()
    times = []
    for _ in range(_SMALL_STEPS):
        start = time.perf_counter()
        network(x).sum().backward()
        times.append(time.perf_counter() - start)
    alone = seconds_of_calls(calls, budget=1.0)
    computing = sum(alone[call] * count for call, count in calls.items())
    return max(0.0, median(times) - computing) / calls.total()


def _size(call: Call) -> int:
    return call.flops or call.num_bytes


def _timed(call: Call) -> float | None:
    """Median seconds, or None for what cannot be run by itself."""
    positional, named = call.arguments  # type: ignore[misc]
    share = _share(call)
    wait = torch.accelerator.synchronize if torch.accelerator.is_available() else _no_wait
    try:
        sets = [_inputs(positional, named, share) for _ in range(1 + _REPEATS)]
        times, kept = [], []
        for args, kwargs in sets:
            wait()
            start = time.perf_counter()
            kept.append(call.operation(*args, **kwargs))
            wait()
            times.append(time.perf_counter() - start)
    except (RuntimeError, TypeError, IndexError, ValueError):
        return None
    return median(times[1:]) / share


def _inputs(positional: Any, named: Any, share: float) -> tuple[list[Any], dict[str, Any]]:
    return [_made(value, share) for value in positional], {key: _made(value, share) for key, value in named}


def _share(call: Call) -> float:
    """How much of tensors that stand in lists is timed."""
    positional, _ = call.arguments  # type: ignore[misc]
    lists = (each for each in positional if isinstance(each, tuple) and not isinstance(each, TensorSpec))
    listed_bytes = sum(x.num_bytes for each in lists for x in each if isinstance(x, TensorSpec))
    return min(1.0, _MOST_LISTED / max(1, listed_bytes))


def _made(value: Any, share: float) -> Any:
    """Arguments as they were, tensors of halves, or zeros; of lists only a share of the first tensors."""
    if isinstance(value, TensorSpec):
        return _tensor(value)
    if not isinstance(value, tuple):
        return value
    if not any(isinstance(x, TensorSpec) for x in value):
        return list(value)
    return list(_first(value, share))


def _first(specs: tuple[Any, ...], share: float) -> Iterator[Any]:
    """Tensors cut to their share of rows, so that all lists of a call stay of one length."""
    for spec in specs:
        if share < 1 and isinstance(spec, TensorSpec) and spec.shape:
            rows = max(1, round(spec.shape[0] * share))
            spec = spec._replace(shape=(rows, *spec.shape[1:]))
        yield _made(spec, share)


def _tensor(spec: TensorSpec) -> Tensor:
    stored = [1 if stride == 0 else length for length, stride in zip(spec.shape, spec.strides, strict=True)]
    x = torch.empty_strided(stored, spec.strides, dtype=spec.dtype, device=spec.device)
    x.fill_(0.5 if spec.dtype.is_floating_point else 0)
    return x.as_strided(spec.shape, spec.strides)  # repeats what is stored once


def _no_wait() -> None:
    """On a CPU an operation is done when it returns."""
