"""Models of several sizes that draw alike: the shipped one, grown into larger shapes.

    saved = model_of("10M")                       # the shipped model's function in 10 million weights
    saved = model_of("10M-random")                # random weights

Weights at random draw nearly any code after any other, and no draft of a clip comes true. So the larger models are the
shipped one: `grown` puts its weights into a larger shape whose further channels, heads and layers add nothing. The work
is that of any weights of the shape, the codes are those of a trained model. Its logits are compared with the shipped
model's before it is handed out.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from _program import require_near
from einops import rearrange
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.names import find_device
from videogpt.pipeline.saved_model import SavedModel, load_model
from videogpt_kernels import Visibility

# B sequences, N rows, D channels, A heads, W channels of a head, 3 the axes (t, h, w)

SIZES = {
    "10M": VideoGPTConfig(width=384, depth=6, heads=6, kv_heads=2),
    "38M": VideoGPTConfig(width=640, depth=8, heads=10, kv_heads=5),
    "100M": VideoGPTConfig(width=1024, depth=9, heads=16, kv_heads=4),
    "350M": VideoGPTConfig(width=1024, depth=24, heads=16, kv_heads=4, mlp_ratio=4.0),
    "1B": VideoGPTConfig(width=2048, depth=20, heads=32, kv_heads=8),
}
"""Shapes beside that of the shipped model, which is called 3M, and random weights in one of them."""
SHIPPED, RANDOM = "3M", "10M-random"


def model_of(size: str) -> SavedModel:
    """The shipped model in a shape of this name, or random weights, where and in the type that users have it."""
    saved, device = load_model("shapes"), find_device("auto")
    saved.tokenizer.to(device)
    network = saved.network if size == SHIPPED else _larger(saved, size)
    network.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    return dataclasses.replace(saved, network=network)


def shape_of(size: str) -> SavedModel:
    """For who asks for the sizes of a model of this name alone: the weights are still the shipped one's."""
    saved = load_model("shapes")
    saved.tokenizer.to(find_device("auto"))
    saved.network.config = _config(saved, size)
    return saved


def _config(saved: SavedModel, size: str) -> VideoGPTConfig:
    config = saved.network.config if size == SHIPPED else SIZES[size.partition("-")[0]]
    return dataclasses.replace(config, vocab_size=saved.task.vocabulary.size)


def _larger(saved: SavedModel, size: str) -> VideoGPT:
    config = _config(saved, size)
    torch.manual_seed(0)
    if size == RANDOM:
        return VideoGPT(config).eval()
    found, ids = grown(saved.network, config), torch.arange(8)[None]
    positions_1N3 = torch.arange(8)[None, :, None].expand(-1, -1, 3)
    rows = TokenSequence(ids_BN=ids, positions_BN3=positions_1N3, visibility=Visibility.causal(1))
    with torch.inference_mode():
        require_near(found(rows), saved.network(rows), 1e-4)
    return found


@torch.no_grad()
def grown(small: VideoGPT, config: VideoGPTConfig) -> VideoGPT:
    """The function of `small` in a larger shape, up to rounding. What adds nothing is a zero or multiplied by one."""
    own, large = small.config, VideoGPT(config).eval()
    assert own.head_dim == config.head_dim and small.head is not None and large.head is not None
    width, hidden = own.width, own.mlp_width
    scale = (width / config.width) ** 0.5  # a norm spreads its length over all channels
    key_head_of = [head // (own.heads // own.kv_heads) for head in range(own.heads)]
    group = config.heads // config.kv_heads
    large.embedding.weight[:, width:] = 0
    large.embedding.weight[:, :width] = small.embedding.weight
    large.head.weight[:, :width] = small.head.weight * scale
    old: Any  # of a ModuleList nobody knows what it holds
    new: Any
    for new in large.blocks:
        new.attention.out.weight.zero_()
        new.feed_forward.out.weight.zero_()
    for old, new in zip(small.blocks, large.blocks, strict=False):  # further layers add zeros
        q_AWD, k_AWD, v_AWD = _heads(old.attention.qkv.weight, own)
        new_q_AWD, new_k_AWD, new_v_AWD = _heads(new.attention.qkv.weight, config)
        gains_H, new_gains_H = old.attention.qk_gain_H, new.attention.qk_gain_H
        for head, key_head in enumerate(key_head_of):
            new_q_AWD[head, :, :width] = q_AWD[head] * scale
            new_k_AWD[head // group, :, :width] = k_AWD[key_head] * scale
            new_v_AWD[head // group, :, :width] = v_AWD[key_head] * scale
            new_gains_H[head] = gains_H[head]
            new_gains_H[config.heads + head // group] = gains_H[own.heads + key_head]
        new.attention.out.weight[:width, :width] = old.attention.out.weight
        for number, part in enumerate(old.feed_forward.gate_and_value.weight.chunk(2)):
            start = number * config.mlp_width
            new.feed_forward.gate_and_value.weight[start : start + hidden, :width] = part * scale
        new.feed_forward.out.weight[:width, :hidden] = old.feed_forward.out.weight
    return large


def _heads(weight: Tensor, config: VideoGPTConfig) -> Sequence[Tensor]:
    """Views of the rows that make queries, keys and values, by heads."""
    every = rearrange(weight, "(a w) d -> a w d", w=config.head_dim)
    return every.split([config.heads, config.kv_heads, config.kv_heads])
