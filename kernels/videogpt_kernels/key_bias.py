"""The keys that a run of query rows can reach, and the additive mask over them, for PyTorch's operations.

    bias = KeyBias.build(visibility, query_start, num_queries, num_keys, dtype)
    scores = q @ bias.reached(k_BGND).mT + bias.bias_B1MS

Keys that no row of the run can see are left out, neither read nor multiplied; the mask settles the rest.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from videogpt_kernels.visibility import Visibility

# B batch, G key heads, M query rows, N key rows, S reached key rows, R prefix and padding rows, D width
NEVER = float("-inf")
ROOM = 256


class KeyBias(NamedTuple):
    """Mask of a run of query rows over the keys that they can reach."""

    keys: tuple[slice, ...]
    """One or two ascending ranges of key rows; their lengths add up to S."""
    bias_B1MS: Tensor
    """0 where the query sees the key, -inf elsewhere. No row is all -inf."""

    @classmethod
    def build(
        cls, visibility: Visibility, query_start: int, num_queries: int, num_keys: int, dtype: torch.dtype
    ) -> "KeyBias":
        """For the query rows query_start.. of sequences of which the keys 0..num_keys-1 exist."""
        keys = visibility.key_slices(query_start, num_queries, num_keys)
        body_start = visibility.common_body_start
        single_body_row = num_queries == 1 and body_start is not None and query_start >= body_start
        if single_body_row and visibility.tile_window is None:
            reached = sum(part.stop - part.start for part in keys)
            return cls(keys, _padding_bias(visibility, reached, dtype))
        visible_BMN = visibility.dense(query_start, num_queries, num_keys)
        visible_B1MS = _take(visible_BMN, keys, dim=-1)[:, None]
        bias_B1MS = torch.zeros(visible_B1MS.shape, dtype=dtype, device=visible_B1MS.device)
        return cls(keys, bias_B1MS.masked_fill_(~visible_B1MS, NEVER))

    def reached(self, x_BGND: Tensor) -> Tensor:
        """The rows of keys or values that belong to the bias: BGSD, a view where they are contiguous."""
        return _take(x_BGND, self.keys, dim=2)


def _padding_bias(visibility: Visibility, reached: int, dtype: torch.dtype) -> Tensor:
    """Bias (B, 1, 1, S) of a single body row, which sees all the keys it reaches except padding.

    From row to row only its length changes: a longer one is built once in a while and cut, so that decoding
    makes no masks.
    """
    room = -(-reached // ROOM) * ROOM

    def build() -> Tensor:
        prefix_B = visibility.prefix_B
        row_R = torch.arange(visibility.body_start, device=prefix_B.device)
        bias_B11S = torch.zeros(len(prefix_B), 1, 1, room, dtype=dtype, device=prefix_B.device)
        bias_B11S[:, 0, 0, : len(row_R)].masked_fill_(row_R >= prefix_B[:, None], NEVER)
        return bias_B11S

    return visibility.once("padding", (room, dtype), build)[..., :reached]


def _take(x: Tensor, ranges: tuple[slice, ...], dim: int) -> Tensor:
    if len(ranges) == 1 and ranges[0] == slice(0, x.shape[dim]):
        return x
    parts = [x.narrow(dim, part.start, part.stop - part.start) for part in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
