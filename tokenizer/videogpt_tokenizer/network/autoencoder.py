"""The causal video autoencoder: pixels -> latent frames -> pixels, without the quantizer.

    encoder = Encoder(AutoencoderConfig(), latent_dim=4)
    latents, past = encoder(video, None)            # past goes back in with the next piece

The first frame of a clip makes the first latent frame alone; every further latent frame holds `time_stride` frames.
Frames are cut into patches before any convolution, so nothing runs at full resolution. There is no 3-D convolution,
no transposed convolution and no norm over space or time: pieces equal the whole, and the graph exports anywhere.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_whole
from videogpt_tokenizer.network.layers import (
    CausalStack,
    Downsample,
    FrameConv,
    Past,
    ResidualBlock,
    Upsample,
    in_bands,
)

# B batch, T latent frames, D latent channels, C feature channels, H/W grid of the space at hand,
# S frames of one latent frame (time_stride), P patch side

EncoderContext = Literal["patch", "local", "wide"]


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the network and how far it compresses."""

    time_stride: int = 4
    """Frames held by one latent frame (the first latent frame holds one frame)."""
    patch_size: int = 4
    """Side of the pixel patches the network starts from."""
    widths: tuple[int, ...] = (64, 128)
    """Channels at each level; the space stride is patch_size * 2 ** (levels - 1)."""
    encoder_depth: int = 2
    """Residual blocks per level of the encoder."""
    encoder_context: EncoderContext = "local"
    """What a code depends on. patch: the pixels it covers. local: its own frames, up to pixels one code away. wide: as
    much as the decoder sees, earlier frames too. The less, the fewer codes change with what moves elsewhere."""
    decoder_depth: int = 3
    """Residual blocks per level of the decoder; decoders repay depth more than encoders do."""

    def __post_init__(self) -> None:
        if isinstance(self.widths, str):
            raise ValueError(f"widths is {self.widths!r}; it must be a list of whole numbers, such as (64, 128)")
        object.__setattr__(self, "widths", tuple(self.widths))
        for width in self.widths:
            check_whole("widths", width, 1, 2**14)
        if not 1 <= len(self.widths) <= 8 or any(width % 16 for width in self.widths):
            raise ValueError(f"widths {self.widths} must be multiples of 16, one for each level, such as (64, 128)")
        if self.encoder_context not in get_args(EncoderContext):
            known = ", ".join(get_args(EncoderContext))
            raise ValueError(f"encoder_context is {self.encoder_context!r}; choose {known}")
        for name in ("time_stride", "patch_size", "encoder_depth", "decoder_depth"):
            check_whole(name, getattr(self, name), 1, 64)

    @property
    def space_stride(self) -> int:
        """Pixels of height and width that one code covers."""
        return self.patch_size * 2 ** (len(self.widths) - 1)

    @property
    def patch_channels(self) -> int:
        """Numbers in one patch: frames x pixels x 3 colours."""
        return self.time_stride * self.patch_size**2 * 3


def to_patches(video_BCTHW: Tensor, config: AutoencoderConfig, *, first: bool) -> Tensor:
    """Cut a piece of a clip into patches (B, T, H/P, W/P, S*P*P*3).

    With `first` it starts the clip: its first frame is held `time_stride` times to fill a latent frame.
    """
    if first:
        held = video_BCTHW[:, :, :1].expand(-1, -1, config.time_stride - 1, -1, -1)
        video_BCTHW = torch.cat([held, video_BCTHW], dim=2)
    pattern = "b c (t s) (h p) (w q) -> b t h w (s p q c)"
    return rearrange(video_BCTHW, pattern, s=config.time_stride, p=config.patch_size, q=config.patch_size)


def from_patches(patches_BTHWC: Tensor, config: AutoencoderConfig, *, first: bool) -> Tensor:
    """Inverse of `to_patches`: (B, 3, frames, height, width)."""
    pattern = "b t h w (s p q c) -> b c (t s) (h p) (w q)"
    video = rearrange(patches_BTHWC, pattern, s=config.time_stride, p=config.patch_size, q=config.patch_size, c=3)
    return video[:, :, config.time_stride - 1 :] if first else video


class Encoder(nn.Module):
    """Video (B, 3, frames, height, width) -> latents (B, T, height/space_stride, width/space_stride, latent_dim)."""

    def __init__(self, config: AutoencoderConfig, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = [nn.Linear(config.patch_channels, widths[0])]
        for level, width in enumerate(widths):
            if level:
                layers.append(Downsample(widths[level - 1], width))
            wide = config.encoder_context == "wide"
            neighbours = wide or (config.encoder_context == "local" and level == 0)
            block = partial(ResidualBlock, width, neighbours=neighbours, reach=2 if wide else 0)
            layers += [block() for _ in range(config.encoder_depth)]
        self.trunk = CausalStack(layers)
        # The norm keeps latents where the quantizer's bounds have a slope: without it they drift into saturation, and
        # most of the codebook is never used.
        self.to_latent = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], latent_dim))

    def forward(self, video_BCTHW: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Latents are of the weights' type whatever autocast says: codes must not depend on the machine."""
        side, frames = self.config.patch_size, 1 if past is None else self.config.time_stride

        def enter(rows_BCTHW: Tensor) -> Tensor:
            return self.trunk[0](to_patches(rows_BCTHW, self.config, first=past is None))

        features_BTHWC = in_bands(enter, video_BCTHW, channels=3 * side**2 * frames, axes=(3, 2), step=side)
        features_BTHWC, states = self.trunk[1:](features_BTHWC, past)
        with torch.autocast(video_BCTHW.device.type, enabled=False):
            return self.to_latent(features_BTHWC.to(self.to_latent[-1].weight.dtype)), states


class Decoder(nn.Module):
    """Latents (B, T, H, W, latent_dim) -> video (B, 3, frames, H*space_stride, W*space_stride), not clamped."""

    def __init__(self, config: AutoencoderConfig, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        layers: list[nn.Module] = [FrameConv(latent_dim, widths[-1])]
        for level in reversed(range(len(widths))):
            layers += [ResidualBlock(widths[level]) for _ in range(config.decoder_depth)]
            if level:
                layers.append(Upsample(widths[level], widths[level - 1]))
        self.trunk = CausalStack(layers)
        self.to_patches = nn.Sequential(nn.LayerNorm(widths[0]), nn.SiLU(), nn.Linear(widths[0], config.patch_channels))

    @property
    def last_weight(self) -> Tensor:
        """Weight of the last layer, (patch_channels, width)."""
        last = self.to_patches[-1]
        assert isinstance(last, nn.Linear)
        return last.weight

    def forward(self, latents_BTHWD: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        features_BTHWC, states = self.trunk(latents_BTHWD, past)

        def leave(rows_BTHWC: Tensor) -> Tensor:
            return from_patches(self.to_patches(rows_BTHWC), self.config, first=past is None)

        return in_bands(leave, features_BTHWC, channels=self.config.widths[0], axes=(2, 3)), states
