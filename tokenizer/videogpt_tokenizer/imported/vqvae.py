"""The VQ-VAE of VideoGPT (Yan et al., 2021, arXiv 2104.10157): 3-D convolutions, axial attention, a learned codebook.

    tokenizer = VQVAETokenizer.from_pretrained("vqvae")     # a folder that save_pretrained wrote
    codes_BTHW = tokenizer.encode(video_BCTHW)              # float in [-1, 1], sizes multiples of the downsampling

Written from the paper and the layout of the published checkpoints, whose names the submodules have; `vqvae_checkpoint`
reads those. Not causal: attention runs over all frames of a clip and norms are fixed, so every code may depend on every
frame, and there is no stream. It does not train: the moving averages of the codebook are not kept.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_whole
from videogpt_tokenizer.files.checksums import fingerprint_of
from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.files.weights_folder import (
    CONFIG_NAME,
    build_config,
    read_pretrained,
    with_weights,
    write_pretrained,
)
from videogpt_tokenizer.imported.whole_clips import WholeClipTokenizer

# B batch, C channels, T frames, H/W height and width, R rows of attention, N places of a row, D channels of a head,
# V codes, E width of the codebook

VQVAE_FORMAT, VQVAE_VERSION = "videogpt-vqvae", 1
HEADS = 2
Strides = tuple[int, int, int]
KERNEL = 4
"""Side of the convolutions that halve or double a grid, along the axes that they leave alone, too."""


@dataclass(frozen=True, kw_only=True)
class VQVAEConfig:
    """The settings of VideoGPT's VQ-VAE, under its own names."""

    embedding_dim: int = 256
    """Width of the codebook's vectors."""
    n_codes: int = 2048
    """Size of the vocabulary."""
    n_hiddens: int = 240
    """Channels of the network."""
    n_res_layers: int = 4
    """Residual blocks with attention, in the encoder and in the decoder."""
    downsample: tuple[int, int, int] = (4, 4, 4)
    """Frames, rows and columns of pixels per code: powers of two, one of them 4 or more, the last two alike."""
    sequence_length: int = 16
    """Frames of the clips that it was trained on."""

    def __post_init__(self) -> None:
        bounds = {"embedding_dim": (1, 2**14), "n_codes": (1, 2**24), "n_hiddens": (2, 2**14)}
        for name, (least, most) in {**bounds, "n_res_layers": (0, 256), "sequence_length": (1, 2**16)}.items():
            check_whole(name, getattr(self, name), least, most)
        if self.n_hiddens % HEADS:
            raise ValueError(f"n_hiddens is {self.n_hiddens}; it must be even, for {HEADS} heads of attention")
        factors = tuple(self.downsample) if isinstance(self.downsample, list | tuple) else ()
        powers = all(type(factor) is int and factor in (1, 2, 4, 8, 16, 32) for factor in factors)
        if len(factors) != 3 or not powers or factors[1] != factors[2] or max(factors) < 4:
            raise ValueError(
                f"downsample is {self.downsample!r}; it must be three powers of two up to 32, one of them 4 or more "
                "and the last two alike, for example (4, 2, 2)"
            )
        object.__setattr__(self, "downsample", factors)

    @property
    def strides(self) -> list[Strides]:
        """Strides of the convolutions, one after another, of the encoder as of the decoder."""
        time, height, width = (int(math.log2(factor)) for factor in self.downsample)
        levels = range(max(time, height, width))
        return [(1 + (level < time), 1 + (level < height), 1 + (level < width)) for level in levels]


class _Conv3d(nn.Module):
    """3-D convolution of a grid padded with zeros, so that each axis shrinks by the stride alone."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: Strides = (1, 1, 1), bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out_channels, kernel, stride, bias=bias)
        self.padding = _padding(kernel, stride)

    def forward(self, grid_BCTHW: Tensor) -> Tensor:
        return self.conv(F.pad(grid_BCTHW, self.padding))


class _ConvTranspose3d(nn.Module):
    """Transposed 3-D convolution that makes each axis longer by the stride alone."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: Strides) -> None:
        super().__init__()
        self.convt = nn.ConvTranspose3d(channels, out_channels, kernel, stride, padding=kernel - 1)
        self.padding = _padding(kernel, stride)

    def forward(self, grid_BCTHW: Tensor) -> Tensor:
        return self.convt(F.pad(grid_BCTHW, self.padding))


class _RowAttention(nn.Module):
    """Attention of every place to all places of its row, column or line through time."""

    def __init__(self, channels: int, rows: str) -> None:
        super().__init__()
        self.rows = rows
        self.w_qs = nn.Linear(channels, channels, bias=False)
        self.w_ks = nn.Linear(channels, channels, bias=False)
        self.w_vs = nn.Linear(channels, channels, bias=False)
        self.fc = nn.Linear(channels, channels)

    def forward(self, grid_BTHWC: Tensor) -> Tensor:
        rows_RNC = rearrange(grid_BTHWC, f"b t h w c -> {self.rows}")
        heads = (
            rearrange(linear(rows_RNC), "r n (heads d) -> r heads n d", heads=HEADS)
            for linear in (self.w_qs, self.w_ks, self.w_vs)
        )
        mixed_RNC = rearrange(F.scaled_dot_product_attention(*heads), "r heads n d -> r n (heads d)")
        batch, time, height, width, _ = grid_BTHWC.shape
        return rearrange(self.fc(mixed_RNC), f"{self.rows} -> b t h w c", b=batch, t=time, h=height, w=width)


class _AxialAttention(nn.Module):
    """The sum of three attentions: along width, height and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn_w = _RowAttention(channels, "(b t h) w c")
        self.attn_h = _RowAttention(channels, "(b t w) h c")
        self.attn_t = _RowAttention(channels, "(b h w) t c")

    def forward(self, grid_BCTHW: Tensor) -> Tensor:
        grid_BTHWC = rearrange(grid_BCTHW, "b c t h w -> b t h w c")
        mixed_BTHWC = self.attn_w(grid_BTHWC) + self.attn_h(grid_BTHWC) + self.attn_t(grid_BTHWC)
        return rearrange(mixed_BTHWC, "b t h w c -> b c t h w")


class _AttentionBlock(nn.Module):
    """A narrow 3x3x3 convolution, one back to full width, axial attention; added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            _Conv3d(channels, channels // 2, 3, bias=False),
            nn.BatchNorm3d(channels // 2),
            nn.ReLU(),
            _Conv3d(channels // 2, channels, 1, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            _AxialAttention(channels),
        )

    def forward(self, grid_BCTHW: Tensor) -> Tensor:
        return grid_BCTHW + self.block(grid_BCTHW)


class _Encoder(nn.Module):
    """Pixels (B, 3, T, H, W) -> (B, n_hiddens, T, H, W) of the grid of codes."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        width = config.n_hiddens
        self.convs = nn.ModuleList(
            _Conv3d(width if level else 3, width, KERNEL, stride) for level, stride in enumerate(config.strides)
        )
        self.conv_last = _Conv3d(width, width, 3)
        self.res_stack = _blocks(config)

    def forward(self, video_BCTHW: Tensor) -> Tensor:
        for conv in self.convs:
            video_BCTHW = F.relu(conv(video_BCTHW))
        return self.res_stack(self.conv_last(video_BCTHW))


class _Decoder(nn.Module):
    """(B, n_hiddens, T, H, W) of the grid of codes -> pixels (B, 3, T, H, W)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        width, last = config.n_hiddens, len(config.strides) - 1
        self.res_stack = _blocks(config)
        self.convts = nn.ModuleList(
            _ConvTranspose3d(width, 3 if level == last else width, KERNEL, stride)
            for level, stride in enumerate(config.strides)
        )

    def forward(self, grid_BCTHW: Tensor) -> Tensor:
        grid_BCTHW = self.res_stack(grid_BCTHW)
        for level, convt in enumerate(self.convts):
            grid_BCTHW = convt(F.relu(grid_BCTHW) if level else grid_BCTHW)
        return grid_BCTHW


class _Codebook(nn.Module):
    """Nearest vector by Euclidean distance."""

    embeddings: Tensor

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(config.n_codes, config.embedding_dim))

    def nearest(self, latents_BETHW: Tensor) -> Tensor:
        """(B, E, T, H, W) -> codes (B, T, H, W). Sums in the published order, so that near ties fall as there."""
        rows_NE = rearrange(latents_BETHW, "b e t h w -> (b t h w) e")
        squares_N1, squares_V = (rows_NE**2).sum(dim=1, keepdim=True), (self.embeddings**2).sum(dim=1)
        codes_N = (squares_N1 - 2 * rows_NE @ self.embeddings.t() + squares_V).argmin(dim=1)
        batch, _, time, height, width = latents_BETHW.shape
        return rearrange(codes_N, "(b t h w) -> b t h w", b=batch, t=time, h=height, w=width)


class VQVAETokenizer(WholeClipTokenizer):
    """VideoGPT's VQ-VAE as a `Tokenizer`; it works on values in [-0.5, 0.5] inside."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook_size = config.n_codes
        self.time_stride = self.first_frames = config.downsample[0]
        self.frames_at_once = max(1, config.sequence_length // self.time_stride) * self.time_stride
        self.space_stride = config.downsample[1]
        self.encoder, self.decoder = _Encoder(config), _Decoder(config)
        self.pre_vq_conv = _Conv3d(config.n_hiddens, config.embedding_dim, 1)
        self.post_vq_conv = _Conv3d(config.embedding_dim, config.n_hiddens, 1)
        self.codebook = _Codebook(config)

    def encode_clip(self, video_BCTHW: Tensor) -> Tensor:
        return self.codebook.nearest(self.pre_vq_conv(self.encoder(video_BCTHW / 2)))

    def decode_clip(self, codes_BTHW: Tensor) -> Tensor:
        latents_BTHWE = F.embedding(codes_BTHW, self.codebook.embeddings)
        latents_BETHW = rearrange(latents_BTHWE, "b t h w e -> b e t h w")
        return self.decoder(self.post_vq_conv(latents_BETHW)) * 2

    def fingerprint(self) -> str:
        """SHA-256 over configuration and weights."""
        return fingerprint_of({VQVAE_FORMAT: dataclasses.asdict(self.config)}, self.state_dict())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` into a folder: the checkpoint, without anything pickled."""
        config = {"format": VQVAE_FORMAT, "version": VQVAE_VERSION, "vqvae": dataclasses.asdict(self.config)}
        write_pretrained(Path(folder), config, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "VQVAETokenizer":
        """Read a folder that `save_pretrained` wrote; the result is in evaluation mode."""
        config, weights = read_pretrained(Path(folder), VQVAE_FORMAT, ("vqvae",), VQVAE_VERSION)
        settings = build_config(VQVAEConfig, config, "vqvae", Path(folder))
        return with_weights(lambda: cls(settings), weights, str(folder))


def is_vqvae_folder(folder: Path) -> bool:
    """Whether `config.json` says that VideoGPT's VQ-VAE was saved here."""
    try:
        config = parse_json((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads the folder says what is wrong with it
    return isinstance(config, dict) and config.get("format") == VQVAE_FORMAT


def _blocks(config: VQVAEConfig) -> nn.Sequential:
    width = config.n_hiddens
    blocks = [_AttentionBlock(width) for _ in range(config.n_res_layers)]
    return nn.Sequential(*blocks, nn.BatchNorm3d(width), nn.ReLU())


def _padding(kernel: int, stride: Strides) -> list[int]:
    """Zeros before and after each axis, the last axis first: kernel - stride in all, an odd one before."""
    return [side for step in reversed(stride) for side in ((kernel - step + 1) // 2, (kernel - step) // 2)]
