"""Which keys each query may see, as row intervals: a few integers per document, never an N x N tensor.

A sequence is a table of rows that holds one document, or several that are packed one after the other. A document
is a prefix (such as text, or codes that are given) and a body (such as the codes of a video):

    row     first ..... prefix_end ..... body_start ...................... the next document
            [  prefix  ][   padding    ][ begin | frame 0 | frame 1 | ... ]

Query row i sees the keys [prefix_start_i, prefix_end_i) U [low_i, high_i] of its own document, disjoint ranges
of which the second always holds i:

    prefix row    low = first, high = i          (bidirectional_prefix: high = prefix_end - 1)
    padding row   low = high = i                 (itself alone: finite, and read by nobody)
    body row      prefix = [first, prefix_end), low = body_start, high = i
                  bidirectional_frames: high = last row of the frame of i
                  window_frames = K:    low = first row of the frame K - 1 frames before that of i

All limits are computed from the row number and scalars, so a kernel needs no mask tensor, in training (all
rows at once) as in decoding (rows query_start.. against keys 0..). Refuses geometry that contradicts itself.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from videogpt_kernels.tile_window import TileWindow

# B batch, K documents of a sequence, M query rows, N key rows
Value = TypeVar("Value")

NOWHERE = 2**30
"""A row that no sequence has."""


Intervals = tuple[Tensor, Tensor, Tensor, Tensor]
"""Query row m of sequence b sees the keys [prefix_start, prefix_end) and [low, high], `high` inclusive: int32, BM."""


class Document(NamedTuple):
    """Lengths of a document that is packed with others."""

    prefix_rows: int
    body_rows: int
    """With the one that begins the body."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Visibility:
    """Row intervals of a batch of documents; see the file's docstring for the picture.

    Made by `causal`, `prefix_body` or `packed`. Raises ValueError for a setting out of its range. What is in a
    tensor is checked only where reading it costs nothing (on the CPU): build there, then call `to`.
    """

    documents_BK3: Tensor
    """int32: first row, prefix_end and body_start of each document of each sequence, in the order of the rows."""
    common_body_start: int | None = None
    """The body_start of all sequences, where each is a single document from row 0 on; None where not."""
    bidirectional_prefix: bool = False
    """Prefix rows see the whole prefix of their document; otherwise they are causal among themselves."""
    frame_tokens: int = 1
    """Rows of one latent frame (height * width). Read only with bidirectional_frames or window_frames."""
    frame_offset: int = 1
    """Body rows before the first row of frame 0, at most frame_tokens; they form a frame of their own.
    With one begin-of-body row, 1 puts a row into the frame of the token it holds, 0 of that it predicts."""
    bidirectional_frames: bool = False
    """Body rows see their whole frame (block-causal); otherwise they are causal token by token."""
    window_frames: int | None = None
    """Body rows see of the body only their own frame and the window_frames - 1 before it; None: no limit."""
    tile_window: TileWindow | None = None
    """Rows of frames, stored in the order of `to_tile_order`, see of the body only tiles within reach; None: all."""
    _memo: dict[str, tuple[Hashable, Any]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        table = self.documents_BK3
        if table.ndim != 3 or table.shape[2] != 3 or table.shape[1] < 1 or table.dtype != torch.int32:
            found = f"{table.dtype} of shape {tuple(table.shape)}"
            raise ValueError(f"documents_BK3 is {found}; give int32 of shape (batch, documents, 3)")
        if self.frame_tokens < 1:
            raise ValueError(f"frame_tokens is {self.frame_tokens}; a frame has at least 1 row")
        if not 0 <= self.frame_offset <= self.frame_tokens:
            raise ValueError(f"frame_offset is {self.frame_offset}; give 0..frame_tokens={self.frame_tokens}")
        if self.window_frames is not None and self.window_frames < 1:
            raise ValueError(f"window_frames is {self.window_frames}; give at least 1, or None for all")
        if self.tile_window is not None and self.tile_window.frame_tokens != self.frame_tokens:
            found = f"a frame of tile_window has {self.tile_window.frame_tokens}: give the same number"
            raise ValueError(f"frame_tokens is {self.frame_tokens}, but {found}")
        if table.device.type == "cpu" and table.numel() and not torch.compiler.is_compiling():
            rows_BX = table.flatten(1)
            if rows_BX[:, 0].any() or (rows_BX[:, 1:] < rows_BX[:, :-1]).any():
                found = f"documents_BK3 holds {rows_BX.tolist()}"
                raise ValueError(f"{found}; give ascending rows, of which the first is 0")

    @classmethod
    def causal(cls, batch: int, device: torch.device | str = "cpu") -> "Visibility":
        """Plain causal rows: no prefix, every row sees itself and all rows before it."""
        return cls(documents_BK3=torch.zeros(batch, 1, 3, dtype=torch.int32, device=device), common_body_start=0)

    @classmethod
    def prefix_body(cls, prefix_B: Tensor, body_start: int, **rules: Any) -> "Visibility":
        """One document per sequence, all with the same first body row; `rules` are the other fields of this class.

        `prefix_B`, int32, are the prefix rows of each sequence, 0..body_start; padding follows up to body_start.
        """
        if prefix_B.ndim != 1 or prefix_B.dtype != torch.int32:
            found = f"{prefix_B.dtype} of shape {tuple(prefix_B.shape)}"
            raise ValueError(f"prefix_B is {found}; give int32 of shape (batch,)")
        if body_start < 0:
            raise ValueError(f"body_start is {body_start}; a row number is at least 0")
        if prefix_B.device.type == "cpu" and prefix_B.numel() and not torch.compiler.is_compiling():
            shortest, longest = (int(length) for length in prefix_B.aminmax())
            if shortest < 0 or longest > body_start:
                raise ValueError(f"prefix_B spans {shortest}..{longest}; give 0..body_start={body_start}")
        columns = (torch.zeros_like(prefix_B), prefix_B, torch.full_like(prefix_B, body_start))
        return cls(documents_BK3=torch.stack(columns, dim=-1)[:, None], common_body_start=body_start, **rules)

    @classmethod
    def packed(cls, sequences: Sequence[Sequence[Document]], **rules: Any) -> "Visibility":
        """Several documents per sequence, one after the other without padding; rows after the last are padding.

        `rules` are the other fields of this class.
        """
        most = max((len(documents) for documents in sequences), default=0)
        table = []
        for documents in sequences:
            row, places = 0, []
            for prefix_rows, body_rows in documents:
                if prefix_rows < 0 or body_rows < 0:
                    raise ValueError(f"a document has {prefix_rows} prefix and {body_rows} body rows; give at least 0")
                places.append((row, row + prefix_rows, row + prefix_rows))
                row += prefix_rows + body_rows
            table.append(places + [(row, row, NOWHERE)] + [(NOWHERE,) * 3] * (most - len(places)))
        documents_BK3 = torch.tensor(table, dtype=torch.int32).reshape(len(sequences), most + 1, 3)
        return cls(documents_BK3=documents_BK3, **rules)

    @property
    def batch(self) -> int:
        """Sequences."""
        return self.documents_BK3.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the table of documents lies."""
        return self.documents_BK3.device

    @property
    def body_start(self) -> int:
        """The first body row of all sequences. Raises ValueError where they hold several documents."""
        if self.common_body_start is None:
            raise ValueError("packed documents have no common body_start; read documents_BK3")
        return self.common_body_start

    @property
    def prefix_B(self) -> Tensor:
        """Prefix rows of each sequence. Raises ValueError where they hold several documents."""
        if self.common_body_start is None:
            raise ValueError("packed documents have no prefix of the sequence; read documents_BK3")
        return self.documents_BK3[:, 0, 1]

    @property
    def plain_causal(self) -> bool:
        """Whether row i sees exactly the keys 0..i; the table is not read, so no GPU is waited for."""
        limited = self.bidirectional_frames or self.window_frames is not None or self.tile_window is not None
        return self.common_body_start == 0 and not limited

    def to(self, device: torch.device | str) -> "Visibility":
        """The same visibility with its table on `device`."""
        return replace(
            self, documents_BK3=self.documents_BK3.to(device, non_blocking=torch.device(device).type == "cuda")
        )

    def pin_memory(self) -> "Visibility":
        """The same with its table where a GPU can fetch it by itself."""
        return replace(self, documents_BK3=self.documents_BK3.pin_memory())

    def of_sequences(self, sources: Sequence[int]) -> "Visibility":
        """That of as many sequences as there are numbers, each as the sequence of that number here."""
        return replace(self, documents_BK3=self.documents_BK3[list(sources)])

    def intervals(self, query_start: int, num_queries: int) -> Intervals:
        """Limits of `num_queries` rows from `query_start` on. `high` may lie beyond the keys that exist.

        A `tile_window` hides some of what lies within these limits: see `dense`.
        """
        return self.intervals_of(self._rows(query_start, num_queries))

    def intervals_of(self, row_BM: Tensor) -> Intervals:
        """The same of any rows, int32 of shape (M,), or (B, M) where they differ from sequence to sequence."""
        first_BM, prefix_end_BM, body_start_BM, next_first_BM = self._documents_of(row_BM)
        is_prefix_BM, is_body_BM = row_BM < prefix_end_BM, row_BM >= body_start_BM
        prefix_high_BM = prefix_end_BM - 1 if self.bidirectional_prefix else row_BM
        low_BM, high_BM = self._body_limits(row_BM, body_start_BM)
        other_low_BM = torch.where(is_prefix_BM, first_BM, row_BM)
        other_high_BM = torch.where(is_prefix_BM, prefix_high_BM, row_BM)
        return (
            first_BM,
            torch.where(is_body_BM, prefix_end_BM, first_BM),
            torch.where(is_body_BM, low_BM, other_low_BM),
            torch.where(is_body_BM, torch.minimum(high_BM, next_first_BM - 1), other_high_BM),
        )

    def dense(self, query_start: int, num_queries: int, num_keys: int) -> Tensor:
        """The same limits as a mask over the keys 0..num_keys-1: bool (B, M, N), True where visible."""
        return self.visible(self._rows(query_start, num_queries), self._rows(0, num_keys))

    def visible(self, query_BM: Tensor, key_BN: Tensor) -> Tensor:
        """Whether rows see others, given by number as in `intervals_of`: bool (B, M, N)."""
        start_BM1, end_BM1, low_BM1, high_BM1 = (x[..., None] for x in self.intervals_of(query_BM))
        key_B1N = key_BN[..., None, :]
        near_BMN = (key_B1N >= low_BM1) & (key_B1N <= high_BM1)
        if self.tile_window is not None:
            tile_BM1, tile_B1N = self.tiles_of(query_BM)[..., None], self.tiles_of(key_BN)[:, None]
            outside_BMN = (tile_BM1 < 0) | (tile_B1N < 0)
            near_BMN &= outside_BMN | self.tile_window.near(tile_BM1, tile_B1N)
        return ((key_B1N >= start_BM1) & (key_B1N < end_BM1)) | near_BMN

    def tiles_of(self, row_M: Tensor) -> Tensor:
        """The tile of each row within its document, -1 for rows before the first frame: int32 (B, M)."""
        assert self.tile_window is not None
        _, _, body_start_BM, _ = self._documents_of(row_M)
        code_BM = row_M - body_start_BM - self.frame_offset
        return torch.where(code_BM < 0, -1, code_BM.clamp(min=0) // self.tile_window.tile_tokens).int()

    def key_slices(self, query_start: int, num_queries: int, num_keys: int) -> tuple[slice, ...]:
        """The one or two ascending key ranges outside which those rows see nothing.

        The tightest that can be had without reading the table, so that no GPU is waited for.
        """
        last_row = query_start + num_queries - 1
        body_start = self.common_body_start
        if body_start is None:
            looks_ahead = self.bidirectional_prefix or self.bidirectional_frames
            return (slice(0, num_keys if looks_ahead else min(last_row + 1, num_keys)),)
        if last_row < body_start:
            prefix_end = body_start if self.bidirectional_prefix else last_row + 1
            return (slice(0, min(prefix_end, num_keys)),)
        low, _ = self._body_limits(max(query_start, body_start), body_start)
        _, high = self._body_limits(last_row, body_start)
        end = min(high + 1, num_keys)
        # Keys in [body_start, low) are out of every window; with prefix rows among these, low is body_start.
        if low <= body_start:
            return (slice(0, end),)
        if body_start == 0:
            return (slice(low, end),)
        return (slice(0, body_start), slice(low, end))

    def once(self, kind: str, key: Hashable, build: Callable[[], Value]) -> Value:
        """`build()`, remembered until the next call of this `kind` with another `key`.

        The layers of one step ask for the same mask in turn: the first builds it, the others share it.
        """
        capturing = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if torch.compiler.is_compiling() or capturing:
            return build()  # part of what is compiled, or of the graph, which then needs nothing kept alive
        known = self._memo.get(kind)
        if known is None or known[0] != key:
            # A mask first built under inference_mode must still be usable for training later.
            with torch.inference_mode(False):
                known = self._memo[kind] = (key, build())
        return known[1]

    def _rows(self, start: int, count: int) -> Tensor:
        return torch.arange(start, start + count, dtype=torch.int32, device=self.device)

    def _documents_of(self, row_M: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First row, prefix_end, body_start and first row of the next, for the document of each row: BM each."""
        first_BK = self.documents_BK3[:, :, 0]
        row_BM = row_M.expand(self.batch, -1)
        if first_BK.shape[1] == 1:
            # Nothing to look up, and decoding asks for every row anew.
            first, prefix_end, body_start = (x.expand_as(row_BM) for x in self.documents_BK3.unbind(-1))
            return first, prefix_end, body_start, torch.full_like(row_BM, NOWHERE)
        index_BM = torch.searchsorted(first_BK.contiguous(), row_BM.contiguous(), right=True) - 1
        next_BK = torch.nn.functional.pad(first_BK[:, 1:], (0, 1), value=NOWHERE)
        first, prefix_end, body_start = (x.gather(1, index_BM) for x in self.documents_BK3.unbind(-1))
        return first, prefix_end, body_start, next_BK.gather(1, index_BM)

    def _body_limits(self, row: Any, body_start: Any) -> tuple[Any, Any]:
        """(low, high) of body rows, ints or tensors (in which other rows get limits of no meaning)."""
        # The rows before frame 0 end a frame whose first rows are missing: counting those, every frame is
        # whole, and no body row takes the remainder of a negative number, on which languages disagree.
        missing = self.frame_tokens - self.frame_offset
        frame_start = row - (row - body_start + missing) % self.frame_tokens
        high = frame_start + self.frame_tokens - 1 if self.bidirectional_frames else row
        if self.window_frames is None:
            return body_start, high
        low = frame_start - (self.window_frames - 1) * self.frame_tokens
        return torch.maximum(low, body_start) if isinstance(low, Tensor) else max(low, body_start), high
