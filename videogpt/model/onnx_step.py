"""The network as an ONNX graph of one step: M rows of R sequences against what was kept of the rows before them.

    model = onnx_step(network)                  # an onnx.ModelProto; needs the package onnx
    model = onnx_step(network, bits=8)          # weights of the layers in 8 bits

The graph keeps nothing: keys and values of earlier rows go in, those of the new rows come out, and whoever runs it
puts them behind the others. So one file serves a prompt (M rows), a single token and a window of them, and any batch.
It ends at the hidden states, from which the head of `VideoGPT` makes logits.

    ids (R, M), positions (P, M, 3) with P = 1 or R                int64
    limits (R, 4, M)    int64, `Visibility.intervals_of`: prefix start and end, low and high of each row
    starts (R)          int64, rows before the first one here; keys from there on are not looked at
    keys_L (R, G, 1, D, N), values_L (R, G, 1, N, D)               float32, of layer L, N at least all starts
    -> hidden (R, M, W), new_keys_L (R, G, D, M), new_values_L (R, G, M, D), and logits (R, M, V) where asked for

Keys lie with their rows last, which is how the product with queries reads them. `RMSNormalization` takes opset 23.
Refuses a network of more weights than a file of this format holds.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from videogpt.model.network import VideoGPT

# R sequences, M new rows, N earlier ones, W width, H query heads, G key/value heads, D channels of a head, O/I output
# and input channels

OPSET, IR_VERSION = 23, 10
MOST_BYTES = 2**31 - 2**20
"""Of weights; a file of protobuf ends there."""
HIDDEN_SCORE = -1e30
"""Score of a key that a row does not see; minus infinity would make NaN of the rows of a padded prompt."""
MIDDLE, LEAST = np.uint8(128), np.float32(1e-12)
"""What stands for 0 in a row of 8 bits, and the smallest scale of such a row."""


def step_inputs(layers: int) -> list[str]:
    """Names of what the graph takes."""
    return ["ids", "positions", "limits", "starts", *_names(layers, "keys", "values")]


def step_outputs(layers: int) -> list[str]:
    """Names of what the graph gives."""
    return ["hidden", *_names(layers, "new_keys", "new_values")]


def _names(layers: int, *kinds: str) -> list[str]:
    return [f"{kind}_{layer}" for layer in range(layers) for kind in kinds]


@torch.no_grad()
def onnx_step(network: VideoGPT, bits: int = 32, ids: range | None = None) -> onnx.ModelProto:
    """The graph of this file's docstring.

    Args:
        bits: 32, or 8 for the matrices of the layers: a scale for each output channel, and one for each row that they
            are multiplied with, which is rounded to 8 bits, too. Sums are whole numbers.
        ids: Give logits over these ids, too.

    Raises:
        ValueError: more weights than one file holds.
    """
    vectors = network.config.vocab_size * network.config.width  # one for each id, whatever it is made of
    layers = sum(parameter.numel() for parameter in network.blocks.parameters())
    if 4 * vectors + layers * bits // 8 > MOST_BYTES:
        raise ValueError(f"{vectors + layers:,} weights are more than an ONNX file holds: run it in torch")
    return _StepGraph(network, bits, ids).model()


class _StepGraph:
    """Nodes and constants of the graph, in the order of computing."""

    def __init__(self, network: VideoGPT, bits: int, ids: range | None) -> None:
        self._network, self._bits, self._ids, self._config = network, bits, ids, network.config
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[tuple[Any, ...], str] = {}
        self._rounded: dict[str, tuple[str, str]] = {}

    def model(self) -> onnx.ModelProto:
        c = self._config
        every_id = torch.arange(c.vocab_size, device=self._network.embedding.weight.device)
        x = self._op("Gather", self._constant(_numbers(self._network.embedding(every_id))), "ids", axis=0)
        rotation, bias = self._rotation(), self._bias()
        for layer, block in enumerate(self._network.blocks):
            x = self._op("Add", x, self._attention(layer, block, self._norm(x, c.width), rotation, bias))
            x = self._op("Add", x, self._feed_forward(block.feed_forward, self._norm(x, c.width)))
        hidden = self._op("Identity", self._norm(x, c.width), to="hidden")
        outputs = step_outputs(c.depth)
        if self._ids is not None:
            every_channel_DD = torch.eye(c.width).to(self._network.embedding.weight)
            self._op(
                "MatMul",
                hidden,
                self._constant(_numbers(self._network.logits(every_channel_DD, self._ids))),
                to="logits",
            )
            outputs.append("logits")
        whole, real = TensorProto.INT64, TensorProto.FLOAT
        shapes = {
            "ids": (whole, ["R", "M"]),
            "positions": (whole, ["P", "M", 3]),
            "limits": (whole, ["R", 4, "M"]),
            "starts": (whole, ["R"]),
            "keys": (real, ["R", c.kv_heads, 1, c.head_dim, "N"]),
            "values": (real, ["R", c.kv_heads, 1, "N", c.head_dim]),
            "hidden": (real, ["R", "M", c.width]),
            "logits": (real, ["R", "M", len(self._ids or ())]),
            "new_keys": (real, ["R", c.kv_heads, c.head_dim, "M"]),
            "new_values": (real, ["R", c.kv_heads, "M", c.head_dim]),
        }

        def infos(names: Sequence[str]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, *shapes[name.rstrip("0123456789").rstrip("_")]) for name in names
            ]

        graph = helper.make_graph(self._nodes, "step", infos(step_inputs(c.depth)), infos(outputs), self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="videogpt-lm")

    def _attention(self, layer: int, block: Any, x: str, rotation: tuple[str, str], bias: str) -> str:
        c, attention = self._config, block.attention
        heads, groups, width = c.heads, c.kv_heads, c.head_dim
        qkv = self._reshape(self._linear(x, attention.qkv.weight), [0, 0, heads + 2 * groups, width])
        qk, v = self._split(qkv, [heads + groups, groups], axis=2)
        qk = self._op("Mul", self._norm(qk, width), self._constant(_numbers(attention.qk_gain_H)[:, None]))
        first, second = self._split(qk, [width // 2, width // 2], axis=3)
        swapped = self._op("Concat", second, first, axis=-1)
        qk = self._op("Add", self._op("Mul", qk, rotation[0]), self._op("Mul", swapped, rotation[1]))
        q, k = self._split(qk, [heads, groups], axis=2)
        q = self._op("Mul", q, self._constant(np.float32(width**-0.5)))
        folded = self._op("Concat", self._whole([0, groups]), self._apart[0], self._whole([-1, width]), axis=0)
        q = self._op("Reshape", self._op("Transpose", q, perm=[0, 2, 1, 3]), folded)
        new_keys = self._op("Transpose", k, perm=[0, 2, 3, 1], to=f"new_keys_{layer}")
        new_values = self._op("Transpose", v, perm=[0, 2, 1, 3], to=f"new_values_{layer}")
        product_axis = self._whole([2])
        old = self._op("MatMul", q, f"keys_{layer}")
        new = self._op("MatMul", q, self._op("Unsqueeze", new_keys, product_axis))
        shares = self._op("Softmax", self._op("Add", self._op("Concat", old, new, axis=-1), bias), axis=-1)
        of_old, of_new = self._op("Split", shares, self._op("Concat", *self._lengths(), axis=0), count=2, axis=-1)
        of_old = self._op("MatMul", of_old, f"values_{layer}")
        of_new = self._op("MatMul", of_new, self._op("Unsqueeze", new_values, product_axis))
        out = self._op("Add", of_old, of_new)
        shape = self._op(
            "Concat",
            self._op("Shape", "ids", start=0, end=1),
            self._whole([heads]),
            self._op("Shape", "ids", start=1, end=2),
            self._whole([width]),
            axis=0,
        )
        out = self._op("Transpose", self._op("Reshape", out, shape), perm=[0, 2, 1, 3])
        return self._linear(self._reshape(out, [0, 0, c.width]), attention.out.weight)

    def _feed_forward(self, feed_forward: Any, x: str) -> str:
        both = self._linear(x, feed_forward.gate_and_value.weight)
        gate, value = self._split(both, [self._config.mlp_width] * 2, axis=2)
        gate = self._op("Mul", gate, self._op("Sigmoid", gate))
        return self._linear(self._op("Mul", gate, value), feed_forward.out.weight)

    def _rotation(self) -> tuple[str, str]:
        """Cosine and sine of `model/rotary.py`."""
        c = self._config
        pairs, axes = c.head_dim // 2, 3
        pair_P = np.arange(pairs)
        speed_P = (c.rope_base ** (-(pair_P // axes).astype(np.float32) * (axes / pairs))).astype(np.float32)
        positions = self._op("Cast", "positions", to_type=TensorProto.FLOAT)
        places = self._op("Gather", positions, self._whole(pair_P % axes), axis=2)
        angle = self._op("Mul", places, self._constant(speed_P))
        cos, sin = self._op("Cos", angle), self._op("Sin", angle)
        both_cos = self._op("Concat", cos, cos, axis=-1)
        both_sin = self._op("Concat", self._op("Neg", sin), sin, axis=-1)
        head_axis = self._whole([2])
        return self._op("Unsqueeze", both_cos, head_axis), self._op("Unsqueeze", both_sin, head_axis)

    def _bias(self) -> str:
        """What is added to scores, (R, 1, 1, rows of a product, N + M): 0 where a row sees a key."""
        limits = self._op("Unsqueeze", "limits", self._whole([3]))
        limits = self._split(limits, [1] * 4, axis=1)  # (R, 1, M, 1) each
        start = self._op("Unsqueeze", "starts", self._whole([1, 2, 3]))
        zero, one = self._constant(np.int64(0)), self._constant(np.int64(1))
        old_count, new_count = (self._op("Squeeze", count) for count in self._lengths())
        old_keys = self._op("Range", zero, old_count, one)
        new_keys = self._op("Add", self._op("Range", zero, new_count, one), start)
        old = self._op("And", self._visible(old_keys, limits), self._op("Less", old_keys, start))
        seen = self._op("Concat", old, self._visible(new_keys, limits), axis=-1)
        bias = self._op("Where", seen, self._constant(np.float32(0)), self._constant(np.float32(HIDDEN_SCORE)))
        ones = self._whole([1, 1, 1])
        repeats = self._op("Concat", ones, self._apart[1], self._whole([1]), axis=0)
        return self._op("Tile", self._op("Unsqueeze", bias, self._whole([1])), repeats)

    @cached_property
    def _apart(self) -> tuple[str, str]:
        """Products that the query heads of a group are in, and heads in each product, both of shape (1,).

        Of a single row each head is a product of its own, as a vector times a matrix needs no copy of the matrix; of
        more rows all heads lie below each other in one product.
        """
        heads, one = self._whole([self._config.heads // self._config.kv_heads]), self._whole([1])
        single = self._op("Equal", self._lengths()[1], one)
        return self._op("Where", single, heads, one), self._op("Where", single, one, heads)

    def _visible(self, keys: str, limits: list[str]) -> str:
        prefix_start, prefix_end, low, high = limits
        in_prefix = self._op("And", self._op("GreaterOrEqual", keys, prefix_start), self._op("Less", keys, prefix_end))
        near = self._op("And", self._op("GreaterOrEqual", keys, low), self._op("LessOrEqual", keys, high))
        return self._op("Or", in_prefix, near)

    def _lengths(self) -> tuple[str, str]:
        """N and M, each of shape (1,)."""
        return self._op("Shape", "keys_0", start=4, end=5), self._op("Shape", "ids", start=1, end=2)

    def _norm(self, x: str, width: int) -> str:
        # Added to the mean square where VideoGPT has a shortest length of 1e-6: either only keeps zeros from dividing.
        return self._op("RMSNormalization", x, self._constant(np.ones(width, np.float32)), axis=-1, epsilon=1e-12)

    def _linear(self, x: str, weight: Tensor) -> str:
        matrix = _numbers(weight)
        if self._bits == 32:
            return self._op("MatMul", x, self._constant(np.ascontiguousarray(matrix.T)))
        steps_OI, scale_O = quantize(matrix)
        rounded, scale = self._quantized(x)
        sums = self._op(
            "MatMulInteger", rounded, self._constant(np.ascontiguousarray(steps_OI.T)), self._constant(MIDDLE)
        )
        found = self._op("Mul", self._op("Cast", sums, to_type=TensorProto.FLOAT), self._constant(scale_O))
        return self._op("Mul", found, scale)

    def _quantized(self, x: str) -> tuple[str, str]:
        """Every row in 8 bits around 128, and its scale; rows do not depend on each other."""
        if x not in self._rounded:
            largest = self._op("ReduceMax", self._op("Abs", x), self._whole([-1]), keepdims=1)
            scale = self._op("Max", self._op("Div", largest, self._constant(np.float32(127))), self._constant(LEAST))
            steps = self._op("Add", self._op("Round", self._op("Div", x, scale)), self._constant(np.float32(MIDDLE)))
            self._rounded[x] = self._op("Cast", steps, to_type=TensorProto.UINT8), scale
        return self._rounded[x]

    def _reshape(self, x: str, shape: list[int]) -> str:
        return self._op("Reshape", x, self._whole(shape))

    def _split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        return self._op("Split", x, self._whole(sizes), count=len(sizes), axis=axis)

    def _whole(self, numbers: Any) -> str:
        return self._constant(np.asarray(numbers, np.int64))

    def _constant(self, numbers: Any) -> str:
        array = np.asarray(numbers)
        key = (
            (array.dtype.str, array.shape, array.tobytes())
            if array.size < 1000
            else (id(numbers), len(self._constants))
        )
        if key not in self._known:
            self._known[key] = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def _op(self, kind: str, *inputs: str, to: str | None = None, count: int = 1, **attributes: Any) -> Any:
        """One node; its output's name, or the names of as many as `count`."""
        number = len(self._nodes)
        names = [to or f"{kind}_{number}"] if count == 1 else [f"{kind}_{number}_{part}" for part in range(count)]
        if "to_type" in attributes:
            attributes["to"] = attributes.pop("to_type")
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if count == 1 else names


def quantize(matrix_OI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix in 8 bits: whole numbers from -127 to 127, int8, and a float32 scale for each output channel."""
    scale_O = np.maximum(np.abs(matrix_OI).max(axis=1) / 127, LEAST)
    return np.round(matrix_OI / scale_O[:, None]).astype(np.int8), scale_O.astype(np.float32)


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
