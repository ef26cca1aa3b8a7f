"""Records what a step computes, on tensors that have shapes and no memory: operations, FLOPs, and bytes alive.

    with fake_tensors(), Recorder() as recorder, recorder.calls_into(counter):
        ...                                    # everything that is made in here is without memory
    counter, recorder.flops, recorder.peak_bytes

An operation is known by what it was given: shapes, strides, types and numbers. The formulas for FLOPs are torch's own.
"""

import weakref
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry


class TensorSpec(NamedTuple):
    """All of a tensor but its numbers."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def numel(self) -> int:
        """Its numbers; those that a broadcast repeats count each time."""
        return torch.Size(self.shape).numel()

    @property
    def num_bytes(self) -> int:
        """What they take where they are read or written one by one."""
        return self.numel * self.dtype.itemsize


class Call(NamedTuple):
    """One operation and what it was given."""

    operation: Any
    arguments: Hashable
    """Nested tuples of `TensorSpec` and plain values: positional ones, then pairs of name and value."""
    flops: int
    num_bytes: int
    """Of everything that is read and written."""


def fake_tensors() -> FakeTensorMode:
    """A context in which tensors are made without memory, and real ones may be read; may be entered again."""
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())


class Recorder(TorchDispatchMode):
    """Counts calls of operations and bytes alive; to be entered within `fake_tensors`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: Counter[Call] = Counter()
        self.flops = 0
        self.alive_bytes = 0
        self.peak_bytes = 0
        self._storages: set[int] = set()

    @contextmanager
    def calls_into(self, counter: Counter[Call]) -> Iterator[None]:
        """Let the counter hold the calls that are made from now on, and no others."""
        counter.clear()
        self._calls = counter
        yield
        self._calls = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        flops = _flops(func, args, kwargs, result)
        self.flops += flops
        if _computes(func):
            arguments = (_spec(args), _spec(tuple(kwargs.items())))
            moved = sum(x.nbytes for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor))
            self._calls[Call(func, arguments, flops, moved)] += 1
        for x in tree_leaves(result):
            if isinstance(x, FakeTensor):
                self._watch(x)
        return result

    def _watch(self, x: Tensor) -> None:
        """Count a tensor's memory until nothing refers to it."""
        storage = x.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        num_bytes = storage.nbytes()
        if not isinstance(num_bytes, int):  # of a size that depends on numbers
            return
        self._storages.add(key)
        self.alive_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
        weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._storages.discard(key)
        self.alive_bytes -= num_bytes


def _flops(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Of a product or convolution; what is done in place has the formula of what is not."""
    packet = func.overloadpacket
    if packet not in flop_registry and str(packet).endswith("_"):
        packet = getattr(torch.ops.aten, packet.__name__.rstrip("_"), packet)
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=result)) if formula else 0


def _computes(func: Any) -> bool:
    """Whether the operation does more than to look at memory in another way, or to ask a tensor what it is."""
    looks = func.is_view or func.overloadpacket in (torch.ops.aten.detach, torch.ops.aten._unsafe_view)
    return not looks and func.namespace != "prim"


def _spec(value: Any) -> Hashable:
    def one(x: Any) -> Any:
        if isinstance(x, Tensor):
            return TensorSpec(tuple(x.shape), x.stride(), x.dtype, x.device)
        return x

    def frozen(x: Any) -> Hashable:
        if isinstance(x, TensorSpec):
            return x
        return tuple(frozen(each) for each in x) if isinstance(x, (list, tuple)) else x

    return frozen(tree_map(one, value))
