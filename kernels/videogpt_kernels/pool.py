"""Where decoding keeps keys and values: slots of a pool, and which slot holds which row of which sequence.

    pool = LayerPool.empty(key_heads=2, slots=343, width=64, dtype=torch.bfloat16)     # one layer
    step = Step(rows=1, lengths=(70, 70), places_B3=..., prompt_rows=65, ring_rows=256, visibility=visibility)
    q_BHMD = write_cache(qkv_BMHD, gain_H, cos_BM1D, sin_BM1D, pool, step)             # the new rows go in
    out_BHMD = decode_attention(q_BHMD, pool, step)                                    # and see what they may

The first `prompt_rows` rows of a sequence lie side by side from its first prompt slot on, and sequences may share
them. Later rows lie in a ring of `ring_rows` slots of its own, where row r takes the place of row r - ring_rows.
Lengths and places are read from the device, so that a captured CUDA graph serves every length; the same lengths
are known on the host, so that nobody waits for the device. Refuses nothing: who makes steps checks them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from videogpt_kernels.visibility import Visibility

# B sequences, G key/value heads, S slots, M new rows of each sequence, N rows that may be held, D channels of a head

STEPS_OF_INT8 = 127


class LayerPool(NamedTuple):
    """Keys and values of one layer."""

    keys_GSD: Tensor
    """Of a floating dtype, or int8 with scales."""
    values_GSD: Tensor
    key_scales_GS: Tensor | None = None
    """float32, by which int8 is multiplied: one for each row of each head."""
    value_scales_GS: Tensor | None = None

    @classmethod
    def empty(
        cls, *, key_heads: int, slots: int, width: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> "LayerPool":
        """A pool of zeros."""
        keys, values = (torch.zeros(key_heads, slots, width, dtype=dtype, device=device) for _ in range(2))
        if dtype != torch.int8:
            return cls(keys, values)
        return cls(keys, values, *(torch.zeros(key_heads, slots, device=device) for _ in range(2)))

    @property
    def quantized(self) -> bool:
        """Whether rows are held in int8."""
        return self.key_scales_GS is not None

    def check(self) -> None:
        """Refuse pools that kernels would read wrongly: ValueError for parts of different shapes or strides."""
        keys, values, *scales = self
        if values.shape != keys.shape or values.stride() != keys.stride() or keys.stride(2) != 1:
            shapes = f"keys and values of shape {tuple(keys.shape)}, {tuple(values.shape)}"
            found = f"{shapes} and strides {keys.stride()}, {values.stride()}"
            raise ValueError(f"{found}: make both alike, as `empty` does")
        for scale in scales:
            fits = scale is None or (scale.shape == keys.shape[:2] and scale.is_contiguous())
            if not fits or (scale is None) != (keys.dtype != torch.int8):
                raise ValueError(f"{keys.dtype} rows with scales that do not fit: make a pool by `empty`")

    def parts(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Keys with their scales, then values with theirs."""
        yield self.keys_GSD, self.key_scales_GS
        yield self.values_GSD, self.value_scales_GS


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (..., D) as int8, symmetric about 0, and the float32 scale (...) of each: x is about int8 * scale."""
    x = x.float()
    scale = x.abs().amax(-1) / STEPS_OF_INT8
    steps = x / torch.where(scale > 0, scale, 1.0)[..., None]
    return (steps + 0.5).floor().to(torch.int8), scale


@dataclass(frozen=True, kw_only=True)
class Step:
    """The rows that every sequence adds next, and where these and all earlier ones lie."""

    rows: int
    """M, the new rows of each sequence."""
    lengths: tuple[int, ...]
    """Rows held before, of each sequence."""
    places_B3: Tensor
    """int32, on the device: rows held before, first slot of the prompt, first slot of the ring."""
    contiguous: bool = False
    """Whether slot b * (prompt_rows + ring_rows) + r holds row r of sequence b, and all lengths are equal."""
    prompt_rows: int
    ring_rows: int
    visibility: Visibility
    """Of all sequences."""
    _memo: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    @property
    def has_earlier_rows(self) -> bool:
        """Whether any sequence has rows already. Without, the new rows see only each other, and no cache is read."""
        return any(self.lengths)

    @property
    def start(self) -> int:
        """Rows held before, where that is the same for all sequences."""
        return self.lengths[0]

    @property
    def rows_BM(self) -> Tensor:
        """Numbers of the new rows, int32."""
        return self.places_B3[:, :1] + torch.arange(self.rows, dtype=torch.int32, device=self.places_B3.device)

    @property
    def limits_B4M(self) -> Tensor:
        """int32: prefix start, prefix end, low and high (inclusive) of the new rows, as `Visibility.intervals`."""
        return self._once("limits", lambda: torch.stack(self.visibility.intervals_of(self.rows_BM), dim=1))

    @property
    def new_slots_BM(self) -> Tensor:
        """Slots of the new rows, int64."""
        return self._once("new slots", lambda: self.slots_of(self.rows_BM))

    @property
    def held_rows_BN(self) -> Tensor:
        """Numbers of all rows that are held when the new ones are, int32; -1 in places of rows not there yet."""
        return self._once("held rows", self._held_rows)

    @property
    def held_slots_BN(self) -> Tensor:
        """Their slots, int64; any in places of rows not there yet."""
        return self._once("held slots", lambda: self.slots_of(self.held_rows_BN.clamp(min=0)))

    @property
    def bias_B1MN(self) -> Tensor:
        """0 where a new row sees a row held, -inf elsewhere: float32."""
        return self._once("bias", self._bias)

    def slots_of(self, rows_BN: Tensor) -> Tensor:
        """Slots of rows, int64."""
        prompt_B1, ring_B1 = self.places_B3[:, 1:2], self.places_B3[:, 2:]
        later_BN = (rows_BN - self.prompt_rows).clamp(min=0) % self.ring_rows
        return torch.where(rows_BN < self.prompt_rows, prompt_B1 + rows_BN, ring_B1 + later_BN).long()

    def _held_rows(self) -> Tensor:
        device, longest = self.places_B3.device, max(self.lengths) + self.rows
        ends_B1 = self.places_B3[:, :1] + self.rows
        prompt_S = torch.arange(min(longest, self.prompt_rows), dtype=torch.int32, device=device)
        places = min(max(longest - self.prompt_rows, 0), self.ring_rows)
        place_R = torch.arange(places, dtype=torch.int32, device=device)
        # The last row before the end that lies in a place of the ring: those of former rounds are gone.
        rounds_BR = (ends_B1 - 1 - self.prompt_rows - place_R).clamp(min=-1) // self.ring_rows
        later_BR = torch.where(rounds_BR < 0, -1, self.prompt_rows + place_R + rounds_BR * self.ring_rows)
        prompt_BS = torch.where(prompt_S < ends_B1, prompt_S, -1)
        return torch.cat([prompt_BS, later_BR], dim=1).int()

    def _bias(self) -> Tensor:
        seen_BMN = self.visibility.visible(self.rows_BM, self.held_rows_BN) & (self.held_rows_BN >= 0)[:, None]
        return torch.zeros(seen_BMN.shape, device=seen_BMN.device).masked_fill_(~seen_BMN, float("-inf"))[:, None]

    def _once(self, name: str, build: Callable[[], Tensor]) -> Tensor:
        """What the layers share: the first builds it. (The standard library's cached_property cannot be compiled.)"""
        if name not in self._memo:
            self._memo[name] = build()
        return self._memo[name]
