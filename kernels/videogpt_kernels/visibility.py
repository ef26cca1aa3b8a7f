"""Which keys each query may see, as row intervals: a few integers per sequence, never an N x N tensor.

A sequence is a table of rows: text first, padding nobody else sees, then video:

    row     0 ...... prefix_b ...... video_start ................... N
            [ text  ][   padding   ][ begin | frame 0 | frame 1 | ... ]

Query row i sees the keys [0, prefix_i) U [low_i, high_i], disjoint ranges of which the second always holds i:

    text row      low = 0, high = i              (bidirectional_prefix: high = prefix_b - 1)
    padding row   low = high = i                 (itself alone: finite, and read by nobody)
    video row     prefix = prefix_b, low = video_start, high = i
                  bidirectional_frames: high = last row of the frame of i
                  window_frames = K:    low = first row of the frame K - 1 frames before that of i

All limits are computed from the row number and scalars, so a kernel needs no mask tensor, in training (all
rows at once) as in decoding (rows query_start.. against keys 0..). Refuses geometry that contradicts itself.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

# B batch, M query rows, N key rows
Value = TypeVar("Value")


class Intervals(NamedTuple):
    """Query row m of sequence b sees the keys [0, prefix) and [low, high]; int32, `high` is inclusive."""

    prefix_BM: Tensor
    low_BM: Tensor
    high_BM: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Visibility:
    """Row intervals of a batch of text-then-video sequences; see the file's docstring for the picture.

    Raises ValueError for a setting out of its range. The lengths in `prefix_B` are checked only where reading
    them costs nothing (on the CPU): build there, then call `to`.
    """

    prefix_B: Tensor
    """int32 (B,): text rows of each sequence, 0..video_start. Video rows see them, whatever the window."""
    video_start: int
    """First video row, the same for the whole batch; the rows prefix_b..video_start-1 are padding."""
    bidirectional_prefix: bool = False
    """Text rows see all text of their sequence; otherwise they are causal among themselves."""
    frame_tokens: int = 1
    """Rows of one latent frame (height * width). Read only with bidirectional_frames or window_frames."""
    frame_offset: int = 1
    """Video rows before the first row of frame 0, at most frame_tokens; they form a frame of their own.
    With one begin-of-video row, 1 puts a row into the frame of the token it holds, 0 of that it predicts."""
    bidirectional_frames: bool = False
    """Video rows see their whole frame (block-causal); otherwise they are causal token by token."""
    window_frames: int | None = None
    """Video rows see video only of their own frame and the window_frames - 1 before it; None: no limit."""
    _memo: dict[str, tuple[Hashable, Any]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        prefix_B = self.prefix_B
        if prefix_B.ndim != 1 or prefix_B.dtype != torch.int32:
            found = f"{prefix_B.dtype} of shape {tuple(prefix_B.shape)}"
            raise ValueError(f"prefix_B is {found}; give int32 of shape (batch,)")
        if self.video_start < 0:
            raise ValueError(f"video_start is {self.video_start}; a row number is at least 0")
        if self.frame_tokens < 1:
            raise ValueError(f"frame_tokens is {self.frame_tokens}; a frame has at least 1 row")
        if not 0 <= self.frame_offset <= self.frame_tokens:
            raise ValueError(f"frame_offset is {self.frame_offset}; give 0..frame_tokens={self.frame_tokens}")
        if self.window_frames is not None and self.window_frames < 1:
            raise ValueError(f"window_frames is {self.window_frames}; give at least 1, or None for all")
        if prefix_B.device.type == "cpu" and prefix_B.numel() and not torch.compiler.is_compiling():
            shortest, longest = (int(length) for length in prefix_B.aminmax())
            if shortest < 0 or longest > self.video_start:
                remedy = f"give 0..video_start={self.video_start}"
                raise ValueError(f"prefix_B spans {shortest}..{longest}; {remedy}")

    @classmethod
    def causal(cls, batch: int, device: torch.device | str = "cpu") -> "Visibility":
        """Plain causal rows: no text, every row sees itself and all rows before it."""
        return cls(prefix_B=torch.zeros(batch, dtype=torch.int32, device=device), video_start=0)

    def to(self, device: torch.device | str) -> "Visibility":
        """The same visibility with its lengths on `device`."""
        return replace(self, prefix_B=self.prefix_B.to(device))

    @property
    def plain_causal(self) -> bool:
        """Whether row i sees exactly the keys 0..i; `prefix_B` is not read, so no GPU is waited for."""
        return self.video_start == 0 and not self.bidirectional_frames and self.window_frames is None

    def intervals(self, query_start: int, num_queries: int) -> Intervals:
        """Limits of `num_queries` rows from `query_start` on. `high` may lie beyond the keys that exist."""
        device = self.prefix_B.device
        row_M = torch.arange(query_start, query_start + num_queries, dtype=torch.int32, device=device)
        prefix_B1 = self.prefix_B[:, None]
        is_video_M = row_M >= self.video_start
        is_text_BM = row_M < prefix_B1
        text_high_BM = prefix_B1 - 1 if self.bidirectional_prefix else row_M
        low_M, high_M = self._video_limits(row_M)
        return Intervals(
            prefix_BM=torch.where(is_video_M, prefix_B1, 0),
            low_BM=torch.where(is_video_M, low_M, torch.where(is_text_BM, 0, row_M)),
            high_BM=torch.where(is_video_M, high_M, torch.where(is_text_BM, text_high_BM, row_M)),
        )

    def dense(self, query_start: int, num_queries: int, num_keys: int) -> Tensor:
        """The same limits as a mask over the keys 0..num_keys-1: bool (B, M, N), True where visible."""
        prefix_BM, low_BM, high_BM = self.intervals(query_start, num_queries)
        key_N = torch.arange(num_keys, dtype=torch.int32, device=self.prefix_B.device)
        in_prefix_BMN = key_N < prefix_BM[..., None]
        return in_prefix_BMN | ((key_N >= low_BM[..., None]) & (key_N <= high_BM[..., None]))

    def key_slices(self, query_start: int, num_queries: int, num_keys: int) -> tuple[slice, ...]:
        """The one or two ascending key ranges outside which those rows see nothing.

        The tightest that hold for every prefix length: `prefix_B` is not read, so no GPU is waited for.
        """
        last_row = query_start + num_queries - 1
        if last_row < self.video_start:
            text_end = self.video_start if self.bidirectional_prefix else last_row + 1
            return (slice(0, min(text_end, num_keys)),)
        low, _ = self._video_limits(max(query_start, self.video_start))
        _, high = self._video_limits(last_row)
        end = min(high + 1, num_keys)
        # Keys in [video_start, low) are out of every window; with text rows among these, low is video_start.
        if low <= self.video_start:
            return (slice(0, end),)
        if self.video_start == 0:
            return (slice(low, end),)
        return (slice(0, self.video_start), slice(low, end))

    def once(self, kind: str, key: Hashable, build: Callable[[], Value]) -> Value:
        """`build()`, remembered until the next call of this `kind` with another `key`.

        The layers of one step ask for the same mask in turn: the first builds it, the others share it.
        """
        if torch.compiler.is_compiling():
            return build()
        known = self._memo.get(kind)
        if known is None or known[0] != key:
            # A mask first built under inference_mode must still be usable for training later.
            with torch.inference_mode(False):
                known = self._memo[kind] = (key, build())
        return known[1]

    def _video_limits(self, row: Any) -> tuple[Any, Any]:
        """(low, high) of video rows, an int or a tensor (in which other rows get limits of no meaning)."""
        # The rows before frame 0 end a frame whose first rows are missing: counting those, every frame is
        # whole, and no video row takes the remainder of a negative number, on which languages disagree.
        missing = self.frame_tokens - self.frame_offset
        frame_start = row - (row - self.video_start + missing) % self.frame_tokens
        high = frame_start + self.frame_tokens - 1 if self.bidirectional_frames else row
        if self.window_frames is None:
            low = self.video_start
        else:
            low = frame_start - (self.window_frames - 1) * self.frame_tokens
            low = low.clamp(min=self.video_start) if isinstance(low, Tensor) else max(low, self.video_start)
        return low, high
