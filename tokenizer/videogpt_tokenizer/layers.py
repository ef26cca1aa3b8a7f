"""Building blocks of the video autoencoder: 2-D convolutions on each frame, and a causal 1x1 mix over time.

Every block takes a video of features and the state left by the chunk before (None at the start of a clip) and
returns both anew, so a clip may be cut into chunks anywhere. Nothing here looks at a later frame, and norms are
per frame: statistics over time would leak the future and make chunks differ from the whole.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

# B batch, T latent frames, C channels, H/W feature grid, K earlier frames in view

Past = tuple[Tensor, ...]
"""State of a stack: for every causal mix its last K input frames, each (B, K, C, H, W)."""


class Features(NamedTuple):
    """Output of a stack of blocks and the state to hand to the next chunk."""

    video_BTCHW: Tensor
    past: Past


def on_frames(module: nn.Module, video_BTCHW: Tensor) -> Tensor:
    """Apply an image module to every frame by itself."""
    frames = module(rearrange(video_BTCHW, "b t c h w -> (b t) c h w"))
    return rearrange(frames, "(b t) c h w -> b t c h w", b=video_BTCHW.shape[0])


class CausalTimeMix(nn.Module):
    """1x1 convolution over each place's features now and in the `reach` frames before; starts out as zero."""

    def __init__(self, channels: int, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.mix = nn.Conv2d((reach + 1) * channels, channels, kernel_size=1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, video_BTCHW: Tensor, past_BKCHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mix; also return the last `reach` frames of the input, the next chunk's `past_BKCHW`."""
        frames = video_BTCHW.shape[1]
        if past_BKCHW is None:
            past_BKCHW = torch.zeros_like(video_BTCHW[:, :1]).expand(-1, self.reach, -1, -1, -1)
        timeline = torch.cat([past_BKCHW.to(video_BTCHW.dtype), video_BTCHW], dim=1)
        taps = torch.cat([timeline[:, k : k + frames] for k in range(self.reach + 1)], dim=2)
        return on_frames(self.mix, taps), timeline[:, frames:]


class ResidualBlock(nn.Module):
    """norm, SiLU, 3x3 convolution, norm, SiLU, causal mix over time; added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(1, channels // 16)
        self.spatial = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
        )
        self.temporal = CausalTimeMix(channels)

    def forward(self, video_BTCHW: Tensor, past_BKCHW: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed_BTCHW, state_BKCHW = self.temporal(on_frames(self.spatial, video_BTCHW), past_BKCHW)
        return video_BTCHW + mixed_BTCHW, state_BKCHW


class Downsample(nn.Sequential):
    """Halve height and width: 2x2 pixels become channels, then a 1x1 convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, out_channels, kernel_size=1))


class Upsample(nn.Sequential):
    """Double height and width: 1x1 convolution, then channels become 2x2 pixels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(nn.Conv2d(channels, 4 * out_channels, kernel_size=1), nn.PixelShuffle(2))


class CausalStack(nn.ModuleList):
    """Residual blocks and per-frame modules in a row, with the blocks' states gathered in order."""

    def forward(self, video_BTCHW: Tensor, past: Past | None) -> Features:
        """Run all; `past` is None at the start of a clip, else what the chunk before returned."""
        states: list[Tensor] = []
        for layer in self:
            if isinstance(layer, ResidualBlock):
                before = past[len(states)] if past is not None else None
                video_BTCHW, state = layer(video_BTCHW, before)
                states.append(state)
            else:
                video_BTCHW = on_frames(layer, video_BTCHW)
        return Features(video_BTCHW, tuple(states))
