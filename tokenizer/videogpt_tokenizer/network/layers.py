"""Building blocks of the video autoencoder: 2-D convolutions on each frame, and a causal linear mix over time.

Every block takes a video of features and the state left by the piece before (None at the start of a clip) and
returns both anew, so a clip may be cut into pieces anywhere. Nothing here looks at a later frame, and norms are
per place: statistics over time would leak the future and make pieces differ from the whole, statistics over a
frame would let a moving object change the codes of a still background.

Channels come last, so that norms and mixes over channels run over contiguous memory. Without gradients, pictures of
more than PLACES_AT_ONCE places go through in bands of rows: of a block there is then as a whole what goes in, what
comes out and the state, and nothing between.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

# B batch, T latent frames, H/W feature grid, C channels, K earlier frames in view

Past = tuple[Tensor, ...]
"""State of a stack: for every causal mix its last K input frames, each (B, K, H, W, C).

Give a state to one call only: in bands, that call writes the state that follows over it.
"""
PLACES_AT_ONCE = 2**14
"""Of all frames of a batch. Libraries may add up in another order in bands, and the last bits then differ."""


def in_bands(
    run: Callable[[Tensor], Tensor], whole: Tensor, channels: int, axes: tuple[int, int] = (2, 2), step: int = 1
) -> Tensor:
    """`run(whole)`, in bands where it is large, if a row of what comes out depends on one row alone.

    Args:
        channels: Numbers in `whole` for each place.
        axes: Where the rows are, before and after.
        step: How many rows of `whole` are one row of places.
    """
    before, after = axes
    rows, found = whole.shape[before] // step, None
    for top, bottom in _bands(rows, whole.numel() // channels):
        part = run(whole.narrow(before, top * step, (bottom - top) * step))
        if bottom - top == rows:
            return part
        scale = part.shape[after] // (bottom - top)
        if found is None:
            found = part.new_empty(*part.shape[:after], rows * scale, *part.shape[after + 1 :])
        found.narrow(after, top * scale, part.shape[after]).copy_(part)
    assert found is not None, "a picture has rows"
    return found


def _bands(rows: int, places: int) -> list[tuple[int, int]]:
    """Where bands begin and end; all rows are one where there are gradients, or few places."""
    is_small = torch.is_grad_enabled() or places <= PLACES_AT_ONCE
    at_once = rows if is_small else max(1, rows * PLACES_AT_ONCE // places)
    return [(top, min(top + at_once, rows)) for top in range(0, rows, at_once)]


class FrameConv(nn.Conv2d):
    """3x3 convolution of every frame by itself, padded with zeros to the same size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, kernel_size=3, padding=1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        """(B, T, H, W, C) -> (B, T, H, W, out_channels)."""
        frames = super().forward(rearrange(input, "b t h w c -> (b t) c h w"))
        return rearrange(frames, "(b t) c h w -> b t h w c", b=input.shape[0])


class _CausalTimeMix(nn.Module):
    """Linear mix of each place's features now and in the `reach` frames before; starts out as zero.

    Before the first frame of a clip there is the first frame again: what does not move keeps its codes from the
    start, which a language model learns sooner than codes that settle in the course of a clip.
    """

    def __init__(self, channels: int, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.mix = nn.Linear((reach + 1) * channels, channels)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, video_BTHWC: Tensor, past_BKHWC: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mix; also return the last `reach` frames of the input, the next piece's `past_BKHWC`."""
        frames = video_BTHWC.shape[1]
        if past_BKHWC is None:
            past_BKHWC = video_BTHWC[:, :1].expand(-1, self.reach, -1, -1, -1)
        timeline = torch.cat([past_BKHWC.to(video_BTHWC.dtype), video_BTHWC], dim=1)
        taps = torch.cat([timeline[:, k : k + frames] for k in range(self.reach + 1)], dim=-1)
        return self.mix(taps), timeline[:, frames:]


class ResidualBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, norm, SiLU, causal mix over time; added to the input.

    Without `neighbours`, a linear map of each place in place of the convolution. The mix sees `reach` earlier frames.
    """

    def __init__(self, channels: int, *, neighbours: bool = True, reach: int = 2) -> None:
        super().__init__()
        self.halo = int(neighbours)
        """Rows above and below that a row depends on."""
        space = FrameConv(channels, channels) if neighbours else nn.Linear(channels, channels)
        self.spatial = nn.Sequential(nn.LayerNorm(channels), nn.SiLU(), space, nn.LayerNorm(channels), nn.SiLU())
        self.temporal = _CausalTimeMix(channels, reach)

    def forward(self, video_BTHWC: Tensor, past_BKHWC: Tensor | None) -> tuple[Tensor, Tensor]:
        bands = _bands(video_BTHWC.shape[2], video_BTHWC[..., 0].numel())
        if len(bands) > 1:
            return self._in_bands(video_BTHWC, past_BKHWC, bands)
        mixed_BTHWC, state_BKHWC = self.temporal(self.spatial(video_BTHWC), past_BKHWC)
        return video_BTHWC + mixed_BTHWC, state_BKHWC

    def _in_bands(
        self, video_BTHWC: Tensor, past_BKHWC: Tensor | None, bands: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        frames, height = video_BTHWC.shape[1:3]
        found_BTHWC = states_BKHWC = None
        if past_BKHWC is not None and _is_own(past_BKHWC):
            states_BKHWC = past_BKHWC
        for top, bottom in bands:
            above, below = max(0, top - self.halo), min(height, bottom + self.halo)
            spatial_BTHWC = self.spatial(video_BTHWC[:, :, above:below])[:, :, top - above : bottom - above]
            before_BKHWC = None if past_BKHWC is None else past_BKHWC[:, :, top:bottom]
            mixed_BTHWC, state_BKHWC = self.temporal(spatial_BTHWC, before_BKHWC)
            part_BTHWC = video_BTHWC[:, :, top:bottom] + mixed_BTHWC
            if past_BKHWC is None and frames == 1:  # all are the first frame
                state_BKHWC = state_BKHWC[:, :1]
            if found_BTHWC is None:
                found_BTHWC = part_BTHWC.new_empty(video_BTHWC.shape)
            if states_BKHWC is None:
                states_BKHWC = state_BKHWC.new_empty(*state_BKHWC.shape[:2], *video_BTHWC.shape[2:])
            found_BTHWC[:, :, top:bottom] = part_BTHWC
            states_BKHWC[:, :, top:bottom] = state_BKHWC
        assert found_BTHWC is not None and states_BKHWC is not None, "a picture has rows"
        return found_BTHWC, states_BKHWC.expand(-1, self.temporal.reach, -1, -1, -1)


def _is_own(state_BKHWC: Tensor) -> bool:
    """Whether every frame of a state has memory of its own, which may be written here."""
    return state_BKHWC.stride(1) != 0 and state_BKHWC.is_inference() == torch.is_inference_mode_enabled()


class Downsample(nn.Linear):
    """Halve height and width: the features of 2x2 places become those of one."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(4 * channels, out_channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear gives it
        return super().forward(rearrange(input, "b t (h p) (w q) c -> b t h w (p q c)", p=2, q=2))


class Upsample(nn.Linear):
    """Double height and width: the features of one place become those of 2x2."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, 4 * out_channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear gives it
        return rearrange(super().forward(input), "b t h w (p q c) -> b t (h p) (w q) c", p=2, q=2)


class CausalStack(nn.ModuleList):
    """Residual blocks and per-frame modules in a row, with the blocks' states gathered in order."""

    def forward(self, video_BTHWC: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Run all; `past` is None at the start of a clip, else what the piece before returned beside its features."""
        states: list[Tensor] = []
        for layer in self:
            if isinstance(layer, ResidualBlock):
                before = past[len(states)] if past is not None else None
                video_BTHWC, state = layer(video_BTHWC, before)
                states.append(state)
            else:
                video_BTHWC = layer(video_BTHWC)
        return video_BTHWC, tuple(states)
