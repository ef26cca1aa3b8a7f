"""Key/value cache: what the decoder keeps of the rows it has seen, in memory of a size known beforehand.

    cache = KVCache(model.config, prompts=2, prompt_rows=70, rows=256, batch=8)
    logits_BNV = model(prompts, cache)         # rows 0 .. N-1 of two sequences
    cache.fork([0, 0, 0, 0, 1, 1, 1, 1])       # now of eight, which share the rows of their prompts
    logits_BMV = model(next_rows, cache)       # sees those, and adds its own
    cache.rewind(3)                            # as if the last three had never been written
    cache.reset()                              # the next videos, in the same memory

The model writes, the sampler owns. The first `prompt_rows` rows of a sequence stay; of the later ones the cache has
room for `rows`, and when more come, the oldest make room, provided that the visibility shows them to nobody any
longer. Rows that are still visible are never forgotten: what does not fit is refused before anything is written.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from videogpt.model.config import VideoGPTConfig
from videogpt_kernels import LayerPool, Step, Visibility

# B sequences, P prompts, G key/value heads, S slots, M new rows, D channels of a head


class KVCache:
    """Keys and values of rows 0 .. length-1 of every sequence, in every layer."""

    def __init__(
        self,
        config: VideoGPTConfig,
        *,
        prompts: int,
        rows: int,
        prompt_rows: int = 0,
        batch: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """An empty cache.

        Args:
            prompts: sequences at first.
            rows: room of each sequence for rows behind its prompt. Under a window of K frames of T tokens,
                K * T + n - 1 are enough for any length, where n is the most rows written at once, or rewound.
            prompt_rows: rows at the beginning that samples of a prompt share, and that stay. The whole prefix must be
                among them where `rows` is less than the whole body.
            batch: sequences there is room for, see `fork`; None is as many as prompts.
            dtype: that of the model's weights, or int8, with a scale for each row of each head.

        Raises:
            ValueError: a size below 1, prompt_rows below 0, or a batch below prompts.
        """
        batch = prompts if batch is None else batch
        if prompts < 1 or rows < 1 or prompt_rows < 0 or batch < prompts:
            sizes = f"prompts {prompts}, rows {rows}, prompt_rows {prompt_rows} and batch {batch}"
            raise ValueError(f"{sizes} make no cache: give at least 1, 1, 0, and as many as prompts")
        self.prompts, self.prompt_rows, self.rows, self.most_sequences = prompts, prompt_rows, rows, batch
        slots = prompts * prompt_rows + batch * rows
        sizes = {"key_heads": config.kv_heads, "slots": slots, "width": config.head_dim}
        self.pools = [LayerPool.empty(**sizes, dtype=dtype, device=device) for _ in range(config.depth)]
        self._alone = batch == prompts
        """Whether each prompt is followed by one ring; where there are more rings, they follow all prompts."""
        self._prompt_slots = [prompt * (prompt_rows + (rows if self._alone else 0)) for prompt in range(prompts)]
        self._ring_slots = [prompts * prompt_rows + ring * rows for ring in range(batch)]
        if self._alone:
            self._ring_slots = [slot + prompt_rows for slot in self._prompt_slots]
        self._places_B3 = torch.zeros(batch, 3, dtype=torch.int32, device=device)
        self.reset()

    @property
    def memory_bytes(self) -> int:
        """Memory of keys and values, filled or not; what a cache on the device `meta` would take."""
        return sum(x.nbytes for pool in self.pools for x in pool if x is not None)

    @property
    def batch(self) -> int:
        """Sequences now."""
        return len(self.lengths)

    @property
    def length(self) -> int:
        """Rows held of every sequence. Raises ValueError where they differ: see `lengths`."""
        if not _all_equal(self.lengths):
            raise ValueError(f"the sequences hold {self.lengths} rows: read lengths")
        return self.lengths[0]

    def reset(self) -> None:
        """Hold no rows of the sequences that there were at first; the memory stays."""
        self.lengths = [0] * self.prompts
        """Rows held of each sequence."""
        self._written = [0] * self.prompts
        """Rows written behind which each ring still holds its oldest: no less than the lengths."""
        self._prompt_of = list(range(self.prompts))
        self._ring_of = list(range(self.prompts))
        self._place()

    def step(self, visibility: Visibility, rows: int) -> Step:
        """What `write_cache` and `decode_attention` need for the next `rows` rows of each sequence.

        `advance` follows when all layers have written them. Nothing waits for the device.

        ValueError: another number of sequences or another device than the cache's; rows for which there is no room.
        """
        if visibility.batch != self.batch:
            raise ValueError(f"{visibility.batch} sequences for a cache of {self.batch}: give as many, or fork")
        device = self._places_B3.device
        if visibility.device != device:
            raise ValueError(f"visibility is on {visibility.device}, the cache on {device}: move one with its to()")
        for index in range(1 if self._uniform else self.batch):
            length = self.lengths[index]
            self._check_room(visibility, length, max(self._written[index], length + rows), rows)
        return Step(
            rows=rows,
            lengths=tuple(self.lengths),
            places_B3=self._places_B3[: self.batch],
            contiguous=self._contiguous and self.lengths[0] + rows <= self.prompt_rows + self.rows,
            prompt_rows=self.prompt_rows,
            ring_rows=self.rows,
            visibility=visibility,
        )

    def advance(self, rows: int) -> None:
        """Count rows that every layer has written as held, on the host and on the device.

        While a CUDA graph is captured nothing is written, and the host does not count: see `count`.
        """
        self._places_B3[: self.batch, 0] += rows
        if self._places_B3.is_cuda and torch.cuda.is_current_stream_capturing():
            return
        self.count(rows)

    def count(self, rows: int) -> None:
        """Count rows on the host alone: for each replay of a CUDA graph that holds a call of `advance`.

        A replay asks nobody whether there is room: call `step` beforehand, which does.
        """
        self.lengths = [length + rows for length in self.lengths]
        self._written = [max(pair) for pair in zip(self._written, self.lengths, strict=True)]
        self._note_arrangement()

    def rewind(self, rows: int | Sequence[int]) -> None:
        """Forget the last rows of every sequence, all the same number or each its own.

        ValueError: a number below 0, or one that reaches into the prompt.
        """
        counts = [rows] * self.batch if isinstance(rows, int) else [int(count) for count in rows]
        if len(counts) != self.batch:
            raise ValueError(f"rows to rewind are {len(counts)} numbers for {self.batch} sequences: give as many")
        for count, length in zip(counts, self.lengths, strict=True):
            most = max(length - self.prompt_rows, 0)
            if not 0 <= count <= most:
                found = f"cannot rewind {count} of {length} rows, {self.prompt_rows} of them the prompt's"
                raise ValueError(f"{found}: give 0..{most}")
        self.lengths = [length - count for count, length in zip(counts, self.lengths, strict=True)]
        self._place()

    def fork(self, sources: Sequence[int]) -> None:
        """Go on with as many sequences as there are sources, the i-th as a copy of sequence sources[i].

        Rows of prompts are shared, later ones copied; the next step's visibility must be that of the new sequences.
        Like `rewind` and `reset`, this copies from the host, and cannot be part of a CUDA graph.

        ValueError: a source that does not exist, more sequences than there is room for, or a prompt that is not
        complete and would be continued twice.
        """
        most = self.most_sequences
        if not 1 <= len(sources) <= most:
            raise ValueError(f"cannot fork into {len(sources)} sequences: the cache has room for 1..{most}")
        for source in sources:
            if not 0 <= source < self.batch:
                raise ValueError(f"cannot fork sequence {source}: there are 0..{self.batch - 1}")
            if self.lengths[source] < self.prompt_rows and sources.count(source) > 1:
                found = f"sequence {source} holds {self.lengths[source]} of {self.prompt_rows} rows of its prompt"
                raise ValueError(f"cannot fork: {found}, and two would write the others; read the whole prompt before")
        rings = list(range(len(sources)))
        used = max(self._written[source] for source in sources) - self.prompt_rows
        if used > 0:
            old = self._slots_of([self._ring_of[source] for source in sources], min(used, self.rows))
            new = self._slots_of(rings, min(used, self.rows))
            for held in (x for pool in self.pools for x in pool if x is not None):
                held[:, new] = held[:, old]  # gathered before it is scattered: rings may change places
        self._prompt_of = [self._prompt_of[source] for source in sources]
        self.lengths = [self.lengths[source] for source in sources]
        self._written = [self._written[source] for source in sources]
        self._ring_of = rings
        self._place()

    def _check_room(self, visibility: Visibility, length: int, end: int, rows: int) -> None:
        """Refuse rows that would take the place of rows which they see, or which follow them."""
        overwritten = end - self.rows
        if overwritten <= self.prompt_rows:
            return
        first_seen = visibility.key_slices(length, rows, length + rows)
        prefix_end = visibility.common_body_start
        if prefix_end is not None and prefix_end <= self.prompt_rows and first_seen[-1].start >= overwritten:
            return
        held = f"{self.prompt_rows} of the prompt and {self.rows} later ones"
        raise ValueError(
            f"rows {length}..{length + rows - 1} do not fit into a cache of {held}: row {overwritten - 1} would be "
            "lost, which is visible still; give more rows, or a visibility with a shorter window"
        )

    def _slots_of(self, rings: list[int], count: int) -> Tensor:
        """The first slots of rings, one ring after the other."""
        starts = torch.tensor([[self._ring_slots[ring]] for ring in rings])
        return (starts + torch.arange(count)).flatten().to(self._places_B3.device)

    def _place(self) -> None:
        """Tell the device what the host knows."""
        rows = [
            (length, self._prompt_slots[prompt], self._ring_slots[ring])
            for length, prompt, ring in zip(self.lengths, self._prompt_of, self._ring_of, strict=True)
        ]
        self._places_B3[: self.batch] = torch.tensor(rows, dtype=torch.int32).to(self._places_B3.device)
        self._note_arrangement()

    def _note_arrangement(self) -> None:
        """Whether all sequences are of one length, and every one lies in one piece, in order."""
        in_order = self._alone and self._prompt_of == self._ring_of == list(range(self.prompts))
        within = max(self._written) <= self.prompt_rows + self.rows
        self._uniform = _all_equal(self.lengths) and _all_equal(self._written)
        self._contiguous = in_order and within and self._uniform


def _all_equal(numbers: list[int]) -> bool:
    """Not by a set, in which torch.compile would take each number for a constant."""
    return all(number == numbers[0] for number in numbers)
