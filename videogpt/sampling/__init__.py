"""Drawing videos from the language model, code by code.

`SamplingConfig` says how to draw, `sampler` draws, `draw` turns logits into codes, `lanes/` are the ways to advance.
"""

from videogpt.sampling.config import SamplingConfig

__all__ = ["SamplingConfig"]
