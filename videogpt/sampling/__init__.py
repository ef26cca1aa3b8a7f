"""Drawing videos from the language model, code by code.

`SamplingConfig` says how to draw; `videogpt.sampling.sampler.VideoSampler` draws, `.filters` holds what the
settings mean, `.prompts` reads files of prompts.
"""

from videogpt.sampling.config import SamplingConfig

__all__ = ["SamplingConfig"]
