"""The network in onnxruntime: no Python between its operations, which a small model on a CPU waits for most.

    engine = OnnxEngine(network)                    # exact: float32 weights
    engine = OnnxEngine(network, bits=8)            # weights and what they are multiplied with in 8 bits: other codes

The graph of `model/onnx_step.py` is made in memory, in a fraction of a second. Every sequence keeps its keys and values
in one piece with room behind it, so that sequences of unequal lengths cost no more than others. Needs the packages onnx
and onnxruntime (`pip install -e '.[export]'`), and a network on a CPU. Refuses 8 bits where the processor's products of
8 bits overflow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.network import VideoGPT
from videogpt.model.onnx_step import IR_VERSION, OPSET, onnx_step, step_inputs, step_outputs
from videogpt.sampling.engines.engine import MOST_IN_WINDOWS, limits_of

# L layers, R sequences, M rows of a call, N rows there is room for, G key/value heads, D channels of a head, W width

ROOM = 64
"""Rows by which the room for keys and values grows."""
PAYING_WINDOW = 8
"""Places of a window that pay (docs/log.md, 2026-11-29)."""


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads that stay awake between runs would take the cores from PyTorch's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxEngine:
    """A network as a session of onnxruntime. It holds the weights as they are now."""

    def __init__(self, network: VideoGPT, bits: int = 32) -> None:
        """`bits` of the layers' weights: 32 or 8."""
        self.name = "onnx" if bits == 32 else f"onnx-int{bits}"
        self.config = network.config
        if bits == 8:
            _check_products()
        self.session = open_session(onnx_step(network, bits).SerializeToString())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """See `Engine.at_work`: PyTorch has one thread meanwhile, as the others, awake between its small operations,
        would take the cores from onnxruntime's."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def paying_window(self, sequences: int) -> int:
        """See `Engine.paying_window`."""
        return PAYING_WINDOW if sequences <= MOST_IN_WINDOWS else 1

    def start(self, given: TokenSequence, rows: int, sources: Sequence[int] | None = None) -> "OnnxDecoding":
        """See `Engine.start`."""
        return OnnxDecoding(self, given, rows, sources)


class OnnxDecoding:
    """Sequences with their keys and values; see `Decoding`."""

    def __init__(self, engine: OnnxEngine, given: TokenSequence, rows: int, sources: Sequence[int] | None) -> None:
        self._session, config = engine.session, engine.config
        self._width, self._layers = config.width, config.depth
        batch, self._given_rows = given.ids_BN.shape
        most = self._given_rows + rows
        self._limits_R4N = limits_of(given, most).numpy()
        sizes = (config.depth, batch, config.kv_heads)
        room = min(-(-self._given_rows // ROOM) * ROOM, most)
        self._keys_LRGDN = np.zeros((*sizes, config.head_dim, room), np.float32)
        self._values_LRGND = np.zeros((*sizes, room, config.head_dim), np.float32)
        self._bound: dict[int, _Call] = {}
        self.hidden_RMD = self._run(given.ids_BN.numpy(), given.positions_BN3.numpy(), [0] * batch).clone()
        if sources is not None:
            self._limits_R4N = self._limits_R4N[list(sources)]
            self._keys_LRGDN = np.ascontiguousarray(self._keys_LRGDN[:, list(sources)])
            self._values_LRGND = np.ascontiguousarray(self._values_LRGND[:, list(sources)])
        self._bound.clear()

    def step(self, ids_RM: Tensor, positions_RM3: Tensor, starts: Sequence[int]) -> Tensor:
        """See `Decoding.step`."""
        return self._run(ids_RM.numpy(), positions_RM3.numpy(), [self._given_rows + start for start in starts])

    def _run(self, ids_RM: np.ndarray, positions_RM3: np.ndarray, firsts: list[int]) -> Tensor:
        rows = ids_RM.shape[1]
        self._make_room(max(firsts) + rows)
        call = self._bound.get(rows)
        if call is None:
            call = self._bound[rows] = _Call(self._session, self._keys_LRGDN, self._values_LRGND, rows, self._width)
        together = min(firsts) == max(firsts)
        ends = [first + rows for first in firsts]
        if together:
            call.limits_R4M[:] = self._limits_R4N[:, :, firsts[0] : ends[0]]
        else:
            for sequence, (first, end) in enumerate(zip(firsts, ends, strict=True)):
                call.limits_R4M[sequence] = self._limits_R4N[sequence, :, first:end]
        call.ids_RM[:], call.positions_RM3[:], call.starts_R[:] = ids_RM, positions_RM3, firsts
        call()
        if together:
            self._keys_LRGDN[..., firsts[0] : ends[0]] = call.keys_LRGDM
            self._values_LRGND[..., firsts[0] : ends[0], :] = call.values_LRGMD
        else:
            for sequence, (first, end) in enumerate(zip(firsts, ends, strict=True)):
                self._keys_LRGDN[:, sequence, :, :, first:end] = call.keys_LRGDM[:, sequence]
                self._values_LRGND[:, sequence, :, first:end] = call.values_LRGMD[:, sequence]
        return torch.from_numpy(call.hidden_RMW)

    def _make_room(self, rows: int) -> None:
        room = self._keys_LRGDN.shape[-1]
        if rows > room:
            more = min(-(-rows // ROOM) * ROOM, self._limits_R4N.shape[-1]) - room
            self._keys_LRGDN = np.pad(self._keys_LRGDN, [(0, 0)] * 4 + [(0, more)])
            self._values_LRGND = np.pad(self._values_LRGND, [(0, 0)] * 3 + [(0, more), (0, 0)])
            self._bound.clear()


class _Call:
    """A run of the session over so many rows: its arrays, bound once and filled before each run."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        keys_LRGDN: np.ndarray,
        values_LRGND: np.ndarray,
        rows: int,
        width: int,
    ) -> None:
        layers, batch, groups, head_width, _ = keys_LRGDN.shape
        self.ids_RM = np.zeros((batch, rows), np.int64)
        self.positions_RM3 = np.zeros((batch, rows, 3), np.int64)
        self.limits_R4M = np.zeros((batch, 4, rows), np.int64)
        self.starts_R = np.zeros(batch, np.int64)
        self.hidden_RMW = np.zeros((batch, rows, width), np.float32)
        self.keys_LRGDM = np.zeros((layers, batch, groups, head_width, rows), np.float32)
        self.values_LRGMD = np.zeros((layers, batch, groups, rows, head_width), np.float32)
        self._session, self._binding = session, session.io_binding()
        assert keys_LRGDN.flags.c_contiguous and values_LRGND.flags.c_contiguous, "bound by their addresses"
        given = [self.ids_RM, self.positions_RM3, self.limits_R4M, self.starts_R]
        found = [self.hidden_RMW]
        for layer in range(layers):
            given += [keys_LRGDN[layer][:, :, None], values_LRGND[layer][:, :, None]]
            found += [self.keys_LRGDM[layer], self.values_LRGMD[layer]]
        for name, array in zip(step_inputs(layers), given, strict=True):
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in zip(step_outputs(layers), found, strict=True):
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def __call__(self) -> None:
        self._session.run_with_iobinding(self._binding)


def _check_products() -> None:
    """Processors without instructions for it add pairs of 8-bit products in 16 bits, which are too few."""
    largest = np.full((1, 64), 255, np.uint8)
    ones = np.full((64, 16), 127, np.int8)
    given = helper.make_tensor_value_info("given", TensorProto.UINT8, [1, 64])
    found = helper.make_tensor_value_info("found", TensorProto.INT32, [1, 16])
    node = helper.make_node("MatMulInteger", ["given", "ones"], ["found"])
    graph = helper.make_graph([node], "products", [given], [found], [numpy_helper.from_array(ones, "ones")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"given": largest})
    if not np.array_equal(np.asarray(sums), largest.astype(np.int32) @ ones):
        raise ValueError("this processor's products of 8 bits overflow: choose engine onnx or torch")
