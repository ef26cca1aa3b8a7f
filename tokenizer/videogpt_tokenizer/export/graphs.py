"""The four graphs of a tokenizer - encoder, decoder, and a step of each - as modules, ONNX files or torch.export files.

    graphs = make_graphs(standalone_of(tokenizer))       # what they are called, take and give
    run = write_graphs(graphs, "onnx", folder)           # files, and a way to run what was written
    codes, *states = run("encoder", [video])

`encoder` and `decoder` start a clip, of any length; `encoder_step` and `decoder_step` go on with it from the states
that came out before. States are in the signature: a graph holds none. They are traced from `standalone`, which is
plain PyTorch without control flow that looks at values and knows nothing of vector-quantize-pytorch.
"""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config

from videogpt_tokenizer.export.standalone import StandaloneTokenizer

# B batch, C colours, T frames (latent frames for codes), H/W height and width

Run = Callable[[str, Sequence[Tensor]], list[Tensor]]
"""Runs the graph of a name: tensors in, tensors out, in the order of its signature."""

_SYMBOLS = {"batch": 2, "time": 3, "height": 2, "width": 3}
"""What the sizes of all tensors are made of, latent frames and the codes' grid, and examples of them to trace with."""


class Axis(NamedTuple):
    """A size that may differ from call to call: times * symbol + plus."""

    symbol: str
    times: int = 1
    plus: int = 0

    def of(self, symbols: dict[str, Any]) -> Any:
        """The size, where symbols stand for these numbers, or for what `torch.export` has in their place."""
        symbol = symbols[self.symbol]
        return symbol if (self.times, self.plus) == (1, 0) else symbol * self.times + self.plus

    def __str__(self) -> str:
        product = self.symbol if self.times == 1 else f"{self.times}*{self.symbol}"
        return product if not self.plus else f"{product} {'-' if self.plus < 0 else '+'} {abs(self.plus)}"


@dataclass(frozen=True)
class _Port:
    """An input or output."""

    name: str
    dtype: str
    axes: tuple[int | Axis, ...]

    def example(self, codebook_size: int) -> Tensor:
        """A tensor to trace with."""
        sizes = [axis.of(_SYMBOLS) if isinstance(axis, Axis) else axis for axis in self.axes]
        return torch.rand(sizes) * 2 - 1 if self.dtype == "float32" else torch.randint(codebook_size, sizes)

    def dynamic_axes(self, symbols: dict[str, Any]) -> dict[int, Any]:
        """What `torch.export` is told of the sizes."""
        return {index: axis.of(symbols) for index, axis in enumerate(self.axes) if isinstance(axis, Axis)}

    def describe(self) -> dict[str, Any]:
        """As the manifest has it."""
        shape = [axis if isinstance(axis, int) else str(axis) for axis in self.axes]
        return {"name": self.name, "dtype": self.dtype, "shape": shape}


class Graph(nn.Module):
    """One of the four, with its signature."""

    def __init__(self, tokenizer: StandaloneTokenizer, name: str, inputs: list[_Port], outputs: list[_Port]) -> None:
        super().__init__()
        self.tokenizer, self.name, self.inputs, self.outputs = copy.deepcopy(tokenizer), name, inputs, outputs
        other = "decoder" if name.startswith("encoder") else "encoder"
        setattr(self.tokenizer, other, nn.ModuleDict())  # else the files would hold its weights too
        self.eval()

    def forward(self, chunk: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        work = self.tokenizer.encode_chunk if self.name.startswith("encoder") else self.tokenizer.decode_chunk
        result, after = work(chunk, list(states) if self.name.endswith("_step") else None)
        return (result, *after)


def make_graphs(standalone: StandaloneTokenizer) -> dict[str, Graph]:
    """The graphs of a tokenizer by their names."""
    time, space = standalone.time_stride, standalone.space_stride
    sides = (Axis("height"), Axis("width"))
    codes = _Port("codes", "int64", (Axis("batch"), Axis("time"), *sides))
    pixels = (Axis("height", space), Axis("width", space))
    clip = _Port("video", "float32", (Axis("batch"), 3, Axis("time", time, 1 - time), *pixels))
    chunk = _Port("video", "float32", (Axis("batch"), 3, Axis("time", time), *pixels))
    graphs = {}
    for half, whole, step in (("encoder", (clip, codes), (chunk, codes)), ("decoder", (codes, clip), (codes, chunk))):
        with torch.no_grad():
            _, *states = Graph(standalone, half, [], [])(whole[0].example(standalone.codebook_size))
        before, after = [], []
        for index, state in enumerate(states):
            _, frames, height, width, channels = state.shape
            grid = (Axis("height", height // _SYMBOLS["height"]), Axis("width", width // _SYMBOLS["width"]))
            axes = (Axis("batch"), frames, *grid, channels)
            before.append(_Port(f"state_{index}", "float32", axes))
            after.append(_Port(f"new_state_{index}", "float32", axes))
        graphs[half] = Graph(standalone, half, [whole[0]], [whole[1], *after])
        graphs[f"{half}_step"] = Graph(standalone, f"{half}_step", [step[0], *before], [step[1], *after])
    return graphs


def describe(graphs: dict[str, Graph], kind: str) -> dict[str, Any]:
    """The files that `write_graphs` writes and their signatures, as the manifest has them."""
    return {
        name: {
            "file": f"{name}.{'onnx' if kind == 'onnx' else 'pt2'}",
            "inputs": [port.describe() for port in graph.inputs],
            "outputs": [port.describe() for port in graph.outputs],
        }
        for name, graph in graphs.items()
    }


def run_of(modules: Mapping[str, Callable[..., Sequence[Tensor]]]) -> Run:
    """Runs modules by their names, without gradients."""

    @torch.no_grad()
    def run(name: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        return list(modules[name](*inputs))

    return run


def write_graphs(graphs: dict[str, Graph], kind: str, folder: Path) -> Run:
    """Write every graph as NAME.onnx or NAME.pt2; returns what runs them from those files."""
    return _write_onnx(graphs, folder) if kind == "onnx" else _write_torch(graphs, folder)


def _write_torch(graphs: dict[str, Graph], folder: Path) -> Run:
    for name, graph in graphs.items():
        example, axes = _example_and_axes(graph)
        with _tracing():
            program = torch.export.export(graph, example, dynamic_shapes=axes)
            # Tracing notes how memory lay at the example's sizes, such as "there is more than one frame", and refuses
            # others, though every operation in the graph runs at all sizes: ranges of the sizes are checked anyway.
            program._guards_code = []
            for node in program.graph.nodes:
                node.meta.pop("stack_trace", None)  # names files of this machine
            torch.export.save(program, folder / f"{name}.pt2")
    return run_of({name: torch.export.load(folder / f"{name}.pt2").module() for name in graphs})


def _write_onnx(graphs: dict[str, Graph], folder: Path) -> Run:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'videogpt-lm[export]'") from error
    for name, graph in graphs.items():
        example, axes = _example_and_axes(graph)
        with _tracing():
            inputs, outputs = ([port.name for port in ports] for ports in (graph.inputs, graph.outputs))
            names: dict[str, Any] = {"input_names": inputs, "output_names": outputs}
            program = torch.onnx.export(graph, example, dynamic_shapes=axes, dynamo=True, verbose=False, **names)
        assert program is not None
        onnx.save(_tidied(program.model_proto, graph), folder / f"{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    open_file = partial(onnxruntime.InferenceSession, sess_options=options, providers=["CPUExecutionProvider"])
    sessions = {name: open_file(folder / f"{name}.onnx") for name in graphs}

    def run(name: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        feed = {port.name: tensor.numpy() for port, tensor in zip(graphs[name].inputs, inputs, strict=True)}
        return [torch.from_numpy(array) for array in sessions[name].run(None, feed)]

    return run


def _tidied(model: Any, graph: Graph) -> Any:
    """The model with our names for its sizes, and without the stack traces of its nodes, which name files here."""
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.value_info[:]
    for port, value in zip([*graph.inputs, *graph.outputs], [*model.graph.input, *model.graph.output], strict=True):
        del value.metadata_props[:]
        for axis, size in zip(port.axes, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(axis, Axis):
                size.dim_param = str(axis)
    return model


def _example_and_axes(graph: Graph) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
    symbols = {symbol: torch.export.Dim(symbol, min=1) for symbol in _SYMBOLS}
    first, *states = [port.dynamic_axes(symbols) for port in graph.inputs]
    example = tuple(port.example(graph.tokenizer.codebook_size) for port in graph.inputs)
    return example, (first, tuple(states)) if states else (first,)


@contextmanager
def _tracing() -> Iterator[None]:
    """A size of 1 is traced as any other, and what tracing says about its own inner workings is not passed on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
