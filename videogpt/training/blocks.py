"""How the blocks of the network are run in training: compiled, or with activations taken again instead of kept.

    prepare_blocks(network, BlocksConfig(compiled=True))

Weights, their names and what is saved stay as they are: the blocks alone are run in another way, in training alone.
Refuses to compile where there is no C++ compiler.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from videogpt.model.compiler import check_compiler
from videogpt.model.network import VideoGPT

_MOST_SHAPES = 64


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """Ways to run the blocks in training; losses are the same up to rounding."""

    compiled: bool = False
    """Compile them: faster steps, after about 15 seconds for every number of caption rows; needs a C++ compiler."""
    checkpointed: bool = False
    """Keep only what goes into each block, and run it again in the backward pass: less memory, a slower step."""


def prepare_blocks(network: VideoGPT, config: BlocksConfig) -> None:
    """Have the blocks run so. ValueError: there is no compiler."""
    if config.compiled:
        check_compiler("model.blocks.compiled is true")
        # Batches differ in the rows of their longest caption, and each kind of batch is a shape of its own.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
    for block in network.blocks:
        forward: Any = block.forward
        if config.compiled:
            forward = torch.compile(forward, dynamic=False)
        if config.checkpointed:
            forward = partial(checkpoint, forward, use_reentrant=False)
        if config.compiled or config.checkpointed:
            block.forward = forward
