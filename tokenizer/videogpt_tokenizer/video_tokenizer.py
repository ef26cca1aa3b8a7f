"""Video tokenizer: pixels <-> integer codes, causal in time, exact in pieces.

    tokenizer = VideoTokenizer.from_pretrained("natural")       # shipped; or the path of a folder
    codes = tokenizer.encode(video)            # (B, 3, 1 + 4k, H, W) in [-1, 1] -> (B, 1 + k, H/8, W/8) int64
    video = tokenizer.decode(codes)            # and back

    stream = tokenizer.stream()                # the same, a few frames at a time, in constant memory
    codes = torch.cat([stream.encode(piece) for piece in pieces], dim=1)

    clips = tokenizer.encode_clips(videos)     # list of (3, T, H, W), any lengths and sizes -> list of ClipCodes
    videos = tokenizer.decode_clips(clips)     # and back, each with its own length and size

The strides (4 and 8 above) are the configuration's. `encode` refuses sizes and frame counts that do not divide, since
padding changes what the codes mean; `encode_clips` pads, and remembers by how much.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videogpt_tokenizer.any_size import ClipCodes, decode_clips, encode_clips
from videogpt_tokenizer.checks import check_codes, check_range, check_video, codes_of_picture
from videogpt_tokenizer.files.checksums import fingerprint_of
from videogpt_tokenizer.files.hub import CARD_NAME, downloaded, is_hub_name, push
from videogpt_tokenizer.files.names import find_folder, shipped_in
from videogpt_tokenizer.files.replacing import write_whole
from videogpt_tokenizer.files.weights_folder import (
    WEIGHTS_NAME,
    build_config,
    float32_by_default,
    read_pretrained,
    with_weights,
    write_pretrained,
)
from videogpt_tokenizer.grid import Tokenizer
from videogpt_tokenizer.model_card import NO_LICENSE, tokenizer_card
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig, Decoder, Encoder
from videogpt_tokenizer.network.layers import PLACES_AT_ONCE, Past
from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer

# B batch, C colours (3), T frames (of pixels, or of latents where codes or latents are meant), H/W height and width,
# D quantizer width

TOKENIZER_FORMAT, TOKENIZER_VERSION = "videogpt-tokenizer", 1


def shipped_tokenizers() -> dict[str, Path]:
    """The video tokenizers inside this package: their folders by name."""
    return shipped_in(Path(__file__).parent / "pretrained")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Everything that defines a tokenizer besides its weights."""

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """Network and compression."""
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """Vocabulary."""


class Reconstruction(NamedTuple):
    """A forward pass: what went through the codes, the codes and their latents, and the quantizer's own loss."""

    video_BCTHW: Tensor
    codes_BTHW: Tensor
    latents_BTHWD: Tensor
    quantizer_loss: Tensor


class VideoTokenizer(Tokenizer):
    """Causal autoencoder with a quantizer between its halves."""

    streams = True
    stages: int
    """Stages that a code can tell of: more than one with a residual quantizer."""

    def __init__(self, config: TokenizerConfig | None = None) -> None:
        super().__init__()
        self.config = config or TokenizerConfig()
        network = self.config.autoencoder
        with float32_by_default():
            self.quantizer = make_quantizer(self.config.quantizer)
            self.encoder, self.decoder = Encoder(network, self.quantizer.dim), Decoder(network, self.quantizer.dim)
        self.codebook_size, self.stages = self.quantizer.codebook_size, self.quantizer.stages
        self.time_stride, self.space_stride = network.time_stride, network.space_stride
        self.frames_at_once = self.time_stride  # latent frames go through one by one

    def forward(self, video_BCTHW: Tensor) -> Reconstruction:
        """Encode, quantize and decode what `encode` takes, with gradients, for training; the video is not clamped."""
        check_video(video_BCTHW)
        self.grid(*video_BCTHW.shape[2:])
        latents, _ = self.encoder(video_BCTHW, None)
        quantized = self.quantizer(latents)
        video, _ = self.decoder(quantized.latents_BTHWD, None)
        return Reconstruction(
            video.to(video_BCTHW.dtype), quantized.codes_BTHW, quantized.latents_BTHWD, quantized.loss
        )

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Video (B, 3, 1 + k * time_stride, H, W) -> codes (B, 1 + k, H/s, W/s); see `Tokenizer.encode`."""
        check_video(video_BCTHW)
        self.grid(*video_BCTHW.shape[2:])
        return self.stream().encode(video_BCTHW)

    @torch.no_grad()
    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Codes (B, 1 + k, h, w) -> video (B, 3, 1 + k * time_stride, h*s, w*s); see `Tokenizer.decode`."""
        check_codes(codes_BTHW)
        if codes_BTHW.shape[1] == 0:
            raise ValueError(f"codes of shape {tuple(codes_BTHW.shape)} hold no latent frame; one is the least")
        return self.stream().decode(codes_BTHW)

    def coarser(self, codes_BTHW: Tensor, stages: int) -> Tensor:
        """Codes of a lower rate: those of the first `stages` stages, without what later stages add."""
        return self.quantizer.coarser(codes_BTHW, stages)

    def bits_per_code(self, stages: int | None = None) -> float:
        """What a code of the first `stages` stages costs, or of all: the logarithm of the number of such codes."""
        return self.quantizer.bits_per_code(stages)

    def memory_of(self, frames: int, height: int, width: int, *, back: bool = True) -> int | None:
        """As measured on the CPU: states, features and pictures, and what is between them in a band."""
        if self.device.type != "cpu":
            return None
        network, remembered = self.config.autoencoder, min(frames, 2)
        blocks = network.encoder_depth * (network.encoder_context == "wide") + network.decoder_depth * back
        places = [width / (network.patch_size * 2**level) ** 2 for level, width in enumerate(network.widths)]
        _, rows, columns = self.covering_grid(1, height, width)
        pixels = rows * columns * self.space_stride**2
        of_a_pixel = remembered * blocks * sum(places) + 2 * places[0] + 17 * frames + 8
        in_a_band = 12 * max(network.widths) * min(PLACES_AT_ONCE, pixels // network.patch_size**2)
        return round(4 * (of_a_pixel * pixels + in_a_band))

    def encode_clips(self, videos: Sequence[Tensor], batch_size: int = 16) -> list[ClipCodes]:
        """Videos (3, T, H, W) of any lengths and sizes -> their codes; see `any_size.encode_clips`."""
        return encode_clips(self, videos, batch_size)

    def decode_clips(self, clips: Sequence[ClipCodes], batch_size: int = 16) -> list[Tensor]:
        """What `encode_clips` made -> videos (3, T, H, W) of the same lengths and sizes."""
        return decode_clips(self, clips, batch_size)

    def stream(self) -> "TokenizerStream":
        """A fresh stream, for encoding or decoding a clip of any length piece by piece."""
        return TokenizerStream(self)

    def fingerprint(self) -> str:
        """SHA-256 over configuration and weights: codes of two tokenizers that agree in it mean the same.

        Settings at their defaults do not count, so that a new setting leaves the fingerprints of old folders alone.
        """
        return fingerprint_of(_changed_settings(self.config), self.state_dict())

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`, `model.safetensors` and, unless there is one, a model card `README.md` into a folder."""
        config = {"format": TOKENIZER_FORMAT, "version": TOKENIZER_VERSION, **dataclasses.asdict(self.config)}
        weights = {name: x.float() if x.is_floating_point() else x for name, x in self.state_dict().items()}
        write_pretrained(Path(folder), config, weights)
        if not (Path(folder) / CARD_NAME).exists():
            write_whole(Path(folder) / CARD_NAME, self.model_card())

    def model_card(self, name: str = "path/of/this/folder", license: str = NO_LICENSE) -> str:  # noqa: A002
        """The text of a model card: what the tokenizer does to a clip, under a name that `from_pretrained` takes."""
        config = self.config.quantizer
        levels = f", levels {', '.join(map(str, config.levels))}" if config.kind == "fsq" else ""
        return tokenizer_card(self, name=name, license=license, quantizer=f"{config.kind}{levels}")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, revision: str | None = None) -> "VideoTokenizer":
        """Read a folder that `save_pretrained` wrote; the result is in evaluation mode.

        Args:
            folder: Its path, or `natural`, which is shipped, or `owner/name` on the Hub (see `files.hub`).
            revision: Branch, tag or commit on the Hub.

        Raises:
            ValueError: there is no such folder or name, or a file of it is damaged or of something else.
            OSError: the Hub does not give it.
        """
        shipped = shipped_tokenizers()
        remote = is_hub_name(folder, revision, shipped)
        folder = downloaded(str(folder), revision, "tokenizer") if remote else find_folder(folder, "tokenizer", shipped)
        config, weights = read_pretrained(folder, TOKENIZER_FORMAT, ("autoencoder", "quantizer"), TOKENIZER_VERSION)
        autoencoder = build_config(AutoencoderConfig, config, "autoencoder", folder)
        quantizer = build_config(QuantizerConfig, config, "quantizer", folder)
        whole = TokenizerConfig(autoencoder=autoencoder, quantizer=quantizer)
        return with_weights(lambda: cls(whole), weights, str(folder / WEIGHTS_NAME))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str = NO_LICENSE,  # noqa: A002 - the Hub's name for it
        private: bool = False,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes; a model card that is there already stays. See `files.hub.push`.

        `license` is that of the weights, in the Hub's words, for example `mit`; it goes into the model card.
        """
        about = {"card": self.model_card(repo_id, license), "kind": "video tokenizer"}
        return push(repo_id, self.save_pretrained, **about, private=private, revision=revision, token=token)


class TokenizerStream:
    """Encodes and decodes one clip (or a batch of clips in step) piece by piece, equal to doing it whole, to the bit.

    Latent frames go through the network one at a time, in however many they come: in which order libraries add up
    depends on how many rows they are given, and in the last bits so would pixels, and now and then a code. Memory does
    not grow with the length. Frames that do not fill a latent frame yet wait for the next piece. Autocast is switched
    off: codes must not depend on where they are made.
    """

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self.tokenizer = tokenizer
        self._encoder_past: Past | None = None
        self._decoder_past: Past | None = None
        self._waiting: Tensor | None = None
        self._encoded: tuple[int, ...] | None = None
        """Clips, height and width of what is being encoded."""
        self._decoded: tuple[int, ...] | None = None

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Any number of further frames -> codes of the latent frames they complete, (B, 0 or more, h, w).

        ValueError where a side does not divide, values lie outside [-1, 1], or batch or size are others than before.
        """
        tokenizer = self.tokenizer
        check_video(video_BCTHW)
        batch, _, _, height, width = video_BCTHW.shape
        grid = codes_of_picture(height, width, tokenizer.space_stride)
        check_range(video_BCTHW)
        self._encoded = _unchanged(self._encoded, (batch, height, width))
        video_BCTHW = video_BCTHW.to(next(tokenizer.encoder.parameters()).dtype)
        if self._waiting is not None:
            video_BCTHW = torch.cat([self._waiting, video_BCTHW], dim=2)
        stride = tokenizer.time_stride
        ends = range(1 if self._encoder_past is None else stride, video_BCTHW.shape[2] + 1, stride)
        # A copy: the caller may put the next frames where these were.
        self._waiting = video_BCTHW[:, :, ends[-1] if ends else 0 :].clone()
        codes = [torch.zeros(batch, 0, *grid, dtype=torch.long, device=video_BCTHW.device)]
        with torch.autocast(video_BCTHW.device.type, enabled=False):
            for end in ends:
                piece_BCTHW = video_BCTHW[:, :, max(0, end - stride) : end]
                latents_BTHWD, self._encoder_past = tokenizer.encoder(piece_BCTHW, self._encoder_past)
                codes.append(tokenizer.quantizer(latents_BTHWD).codes_BTHW)
        return torch.cat(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Any number of further latent frames -> their frames of pixels: one for the first, time_stride for others.

        ValueError where a code lies outside [0, codebook_size), codes are no integers (batch, latent frames, h, w), or
        batch or size are others than before.
        """
        tokenizer, dtype = self.tokenizer, next(self.tokenizer.decoder.parameters()).dtype
        check_codes(codes_BTHW)
        batch, frames, height, width = codes_BTHW.shape
        self._decoded = _unchanged(self._decoded, (batch, height, width))
        side, device = tokenizer.space_stride, codes_BTHW.device
        latents_BTHWD = tokenizer.quantizer.lookup(codes_BTHW.long()).to(dtype)
        pieces = [torch.zeros(batch, 3, 0, height * side, width * side, dtype=dtype, device=device)]
        with torch.autocast(device.type, enabled=False):
            for frame in range(frames):
                latent_B1HWD = latents_BTHWD[:, frame : frame + 1].clone()
                video_BCTHW, self._decoder_past = tokenizer.decoder(latent_B1HWD, self._decoder_past)
                pieces.append(video_BCTHW.clamp_(-1, 1))
        return torch.cat(pieces, dim=2)

    def keep(self, clips: int) -> None:
        """Go on with the first so many clips of the batch; the others have ended."""
        self._encoder_past, self._decoder_past = (
            None if past is None else tuple(state[:clips] for state in past)
            for past in (self._encoder_past, self._decoder_past)
        )
        self._waiting = None if self._waiting is None else self._waiting[:clips]
        self._encoded, self._decoded = (
            None if shape is None else (min(clips, shape[0]), *shape[1:]) for shape in (self._encoded, self._decoded)
        )


def _unchanged(before: tuple[int, ...] | None, now: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a stream's pieces."""
    if before not in (None, now):
        raise ValueError(
            f"a stream that began with (clips, height, width) = {before} goes on with the same, not {now}: "
            "begin another stream"
        )
    return now


def _changed_settings(config: TokenizerConfig) -> dict[str, dict[str, Any]]:
    """The settings that differ from their defaults, by part."""
    values, defaults = dataclasses.asdict(config), dataclasses.asdict(TokenizerConfig())
    return {
        part: {key: value for key, value in settings.items() if value != defaults[part][key]}
        for part, settings in values.items()
    }
