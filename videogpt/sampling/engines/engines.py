"""Engines by name, and the one that a network runs in where nobody chose.

    engine = find_engine("auto", network)           # onnx on a CPU where it is installed, else torch
    engine = find_engine("onnx-int8", network)      # one that draws other codes has to be asked for

An engine of 8 bits is an approximation, whose cost in bits `videogpt evaluate --engine` prints.
"""

import warnings
from collections.abc import Callable

import torch

from videogpt.model.compiler import check_compiler
from videogpt.model.network import VideoGPT
from videogpt.sampling.engines.engine import Engine
from videogpt.sampling.engines.torch_engine import TorchEngine


def _onnx(bits: int) -> Callable[[VideoGPT], Engine]:
    def make(network: VideoGPT) -> Engine:
        name, weight = "onnx" if bits == 32 else f"onnx-int{bits}", network.embedding.weight
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            found = f"the model is on {weight.device.type} in {str(weight.dtype).removeprefix('torch.')}"
            raise ValueError(f"engine {name} runs on a CPU in float32, and {found}: choose engine torch")
        try:
            from videogpt.sampling.engines.onnx_engine import OnnxEngine
        except ImportError as error:
            raise ValueError(f"{error.name} is not installed: pip install 'videogpt-lm[export]'") from error
        return OnnxEngine(network, bits)

    return make


def _compiled(network: VideoGPT) -> Engine:
    if network.embedding.weight.device.type == "cpu":
        check_compiler("engine is compiled")
    from videogpt.sampling.engines.compiled_engine import CompiledEngine

    return CompiledEngine(network)


ENGINES: dict[str, Callable[[VideoGPT], Engine]] = {
    "torch": TorchEngine,
    "torch-int8-cache": lambda network: TorchEngine(network, torch.int8),
    "onnx": _onnx(32),
    "onnx-int8": _onnx(8),
    "compiled": _compiled,
}
"""Who can run the network."""
EXACT = ("torch", "onnx", "compiled")
"""Those that draw the same codes for a seed in float32."""


def find_engine(name: str, network: VideoGPT) -> Engine:
    """An engine for a network as it is now: where it is, in its type, with these weights.

    Args:
        name: In `ENGINES`, or "auto": the fastest exact one that can run here. A line tells if one lacks a package.

    Raises:
        ValueError: there is no such engine, or it cannot run here.
    """
    if name != "auto" and name not in ENGINES:
        raise ValueError(f"engine is {name!r}; choose auto, {', '.join(ENGINES)}")
    weight = network.embedding.weight
    if name == "auto" and weight.device.type == "cpu" and weight.dtype == torch.float32:
        try:
            return ENGINES["onnx"](network)
        except ValueError as error:
            warnings.warn(f"{error}; until then torch draws the same codes, more slowly", stacklevel=2)
    return ENGINES["torch" if name == "auto" else name](network)
