"""The raster scan numbers the codes of a clip of any length: frame by frame, line by line."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

# B sequences, M codes, T latent frames, H/W latent grid, 3 the axes (t, h, w)


@dataclass(frozen=True)
class Raster:
    """The scan of latent frames of one size."""

    latent_height: int
    latent_width: int

    @property
    def frame_tokens(self) -> int:
        """Codes of one latent frame."""
        return self.latent_height * self.latent_width

    def flatten(self, codes_BTHW: Tensor) -> Tensor:
        """Codes in the order of the scan, (B, M)."""
        return rearrange(codes_BTHW, "b t h w -> b (t h w)")

    def frames(self, codes_BM: Tensor) -> Tensor:
        """The inverse of `flatten`."""
        return rearrange(codes_BM, "b (t h w) -> b t h w", h=self.latent_height, w=self.latent_width)

    def places(self, number_M: Tensor) -> Tensor:
        """Latent frame, line and column (M, 3) of codes by their number in the scan."""
        line_M = number_M % self.frame_tokens // self.latent_width
        return torch.stack([number_M // self.frame_tokens, line_M, number_M % self.latent_width], dim=-1)
