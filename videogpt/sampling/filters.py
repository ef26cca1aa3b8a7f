"""Filters on logits: temperature, top-k, top-p and min-p, on a whole batch at once.

Removed entries become -inf. Meaning, order and treatment of ties are those of Hugging Face transformers:
temperature first, then top-k, top-p and min-p, each on what the one before it left. The most likely entry of
a row always survives.
"""

import numpy as np
import torch
from torch import Tensor

from videogpt.sampling.config import SamplingConfig

# B sequences, V vocabulary

REMOVED = float("-inf")


def filter_logits(logits_BV: Tensor, config: SamplingConfig) -> Tensor:
    """Apply every filter that `config` sets; a temperature of 0 is left to the caller."""
    if config.temperature not in (0.0, 1.0):
        # from the row's maximum: the tiniest temperature then gives one certain code and not infinities
        logits_BV = (logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / config.temperature
    if config.top_k is not None:
        logits_BV = keep_top_k(logits_BV, config.top_k)
    if config.top_p is not None and config.top_p < 1.0:
        logits_BV = keep_top_p(logits_BV, config.top_p)
    if config.min_p is not None and config.min_p > 0.0:
        logits_BV = keep_min_p(logits_BV, config.min_p)
    return logits_BV


def keep_top_k(logits_BV: Tensor, top_k: int) -> Tensor:
    """Keep the `top_k` (1 or more) largest logits of a row, and whatever ties with the smallest of them."""
    if top_k >= logits_BV.shape[-1]:
        return logits_BV
    smallest_B1 = logits_BV.topk(top_k, dim=-1).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < smallest_B1, REMOVED)


def keep_top_p(logits_BV: Tensor, top_p: float) -> Tensor:
    """Keep the fewest most likely entries whose probabilities add up to `top_p` (0 < top_p <= 1) or more.

    Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020 (arXiv 1904.09751).
    """
    if logits_BV.device.type == "cpu" and logits_BV.dtype == torch.float32:
        # NumPy sorts without order several times sooner than PyTorch with it.
        ascending_BV = torch.from_numpy(np.sort(logits_BV.detach().numpy(), axis=-1))
        removed_BV = _unlikeliest(ascending_BV, top_p)
        smallest_B1 = ascending_BV.gather(1, removed_BV.sum(dim=-1, keepdim=True))
        below_BV = logits_BV < smallest_B1
        if torch.equal(below_BV.sum(dim=-1), removed_BV.sum(dim=-1)):  # else some that tie with the smallest go, too
            return logits_BV.masked_fill(below_BV, REMOVED)
    ascending_BV, order_BV = logits_BV.sort(dim=-1)
    removed_BV = _unlikeliest(ascending_BV, top_p)
    return logits_BV.masked_fill(removed_BV.scatter(1, order_BV, removed_BV), REMOVED)


def _unlikeliest(ascending_BV: Tensor, top_p: float) -> Tensor:
    """Which of the logits in order go."""
    removed_BV = ascending_BV.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - top_p
    removed_BV[:, -1] = False
    return removed_BV


def keep_min_p(logits_BV: Tensor, min_p: float) -> Tensor:
    """Keep the entries at least `min_p` (0 to 1) times as likely as the most likely one.

    Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024 (arXiv 2407.01082).
    """
    probabilities_BV = logits_BV.softmax(dim=-1)
    highest_B1 = probabilities_BV.amax(dim=-1, keepdim=True)
    return logits_BV.masked_fill(probabilities_BV < min_p * highest_B1, REMOVED)
