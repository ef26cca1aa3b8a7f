"""Building blocks of the video autoencoder: 2-D convolutions on each frame, and a causal linear mix over time.

Every block takes a video of features and the state left by the piece before (None at the start of a clip) and
returns both anew, so a clip may be cut into pieces anywhere. Nothing here looks at a later frame, and norms are
per place: statistics over time would leak the future and make pieces differ from the whole, statistics over a
frame would let a moving object change the codes of a still background.

Channels come last, so that norms and mixes over channels run over contiguous memory.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

# B batch, T latent frames, H/W feature grid, C channels, K earlier frames in view

Past = tuple[Tensor, ...]
"""State of a stack: for every causal mix its last K input frames, each (B, K, H, W, C)."""


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
        space = FrameConv(channels, channels) if neighbours else nn.Linear(channels, channels)
        self.spatial = nn.Sequential(nn.LayerNorm(channels), nn.SiLU(), space, nn.LayerNorm(channels), nn.SiLU())
        self.temporal = _CausalTimeMix(channels, reach)

    def forward(self, video_BTHWC: Tensor, past_BKHWC: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed_BTHWC, state_BKHWC = self.temporal(self.spatial(video_BTHWC), past_BKHWC)
        return video_BTHWC + mixed_BTHWC, state_BKHWC


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
