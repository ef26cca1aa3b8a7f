"""A video tokenizer in one file that needs only torch: pixels <-> integer codes, whole clips or chunk by chunk.

    tokenizer = load_tokenizer("exported")          # config.json and model.safetensors, beside this file
    codes = tokenizer.encode(video)                 # (B, 3, 1 + 4k, H, W) in [-1, 1] -> (B, 1 + k, H/8, W/8) int64
    video = tokenizer.decode(codes)                 # and back, clamped to [-1, 1]

    stream = tokenizer.stream()                     # the same, a few frames at a time, in constant memory
    codes = torch.cat([stream.encode(chunk) for chunk in chunks], dim=1)

The strides (4 and 8 above) are those of config.json. Computes in float32; unpickles nothing. Refuses damaged folders,
settings, quantizers and tensors that are missing, unknown or misshapen, and clips that do not divide.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# B batch, C colours or channels, T frames (or latent frames), H/W height and width, K channels of the quantizer

KNOWN_FORMATS = ("videogpt-tokenizer", "videogpt-tokenizer-reduced")
CONFIG = {"format", "version", "autoencoder", "quantizer"}
AUTOENCODER = {"time_stride", "patch_size", "widths", "encoder_depth", "encoder_context", "decoder_depth"}
QUANTIZER = {"kind", "levels", "commitment", "codebook_size", "codebook_dim"}
LATER = {"version", "stages", "quantizer_dropout"}  # what older folders lack


def load_tokenizer(folder: str | Path) -> "StandaloneTokenizer":
    """The tokenizer of a folder with config.json and model.safetensors; raises ValueError if anything is amiss."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        data = (folder / "model.safetensors").read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder} is not a complete tokenizer folder ({error}): copy it again") from error
    if not isinstance(config, dict) or config.get("format") not in KNOWN_FORMATS or config.get("version", 1) != 1:
        raise ValueError(f"{folder}/config.json describes no {KNOWN_FORMATS[0]} of version 1: give another folder")
    if config.pop("weights_sha256", None) != hashlib.sha256(data).hexdigest():
        raise ValueError(f"{folder}/model.safetensors is truncated or altered: copy it again")
    return StandaloneTokenizer(config, most=len(data)).load_weights(parse_safetensors(data))


def parse_safetensors(data: bytes) -> dict[str, Tensor]:
    """Float32 tensors of a safetensors file, whose every size is held against the others before it is used."""
    length = int.from_bytes(data[:8], "little")
    try:
        header, body, position, tensors = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :]), 0, {}
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            (begin, end), dtype, shape = entry["data_offsets"], entry["dtype"], entry["shape"]
            if dtype != "F32" or begin != position or end > len(body) or end - begin != 4 * math.prod(shape):
                raise ValueError(f"{name} cannot be {dtype} {shape} at {begin} to {end}")
            tensors[name], position = torch.frombuffer(body[begin:end], dtype=torch.float32).reshape(shape), end
            if not tensors[name].isfinite().all():
                raise ValueError(f"{name} is not finite")
        if 8 + length + position != len(data):
            raise ValueError(f"header and tensors are not {len(data)} bytes long")
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"model.safetensors is damaged ({error}): copy it again") from error
    return tensors


class _FiniteScalars(nn.Module):  # latents (..., K) <-> codes: every channel is bounded and rounded to a few levels
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.codebook_size, self.dim = math.prod(levels := config["levels"]), len(levels)
        levels_K, worths_K = torch.tensor([levels, [math.prod(levels[:index]) for index in range(len(levels))]])
        half_K, offset_K = (levels_K - 1).float() * (1 + 1e-3) / 2, torch.where(levels_K % 2 == 0, 0.5, 0.0).float()
        self.levels_2K = nn.Buffer(torch.stack([levels_K, worths_K]), persistent=False)
        self.bounds_3K = nn.Buffer(torch.stack([half_K, offset_K, torch.atanh(offset_K / half_K)]), persistent=False)

    def encode(self, latents: Tensor) -> Tensor:
        (half_K, offset_K, shift_K), (levels_K, worths_K) = self.bounds_3K, self.levels_2K
        bounded = torch.tanh(latents + shift_K) * half_K - offset_K
        return ((bounded.round().long() + levels_K // 2) * worths_K).sum(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        levels_K, worths_K = self.levels_2K
        return (codes[..., None] // worths_K % levels_K - levels_K // 2).float() / (levels_K // 2)


class StandaloneTokenizer(nn.Module):
    """Causal autoencoder with a quantizer between its halves; built from config.json."""

    quantizers: dict[str, Any] = {"fsq": _FiniteScalars}  # what to build for each kind of quantizer

    def __init__(self, config: dict[str, Any], most: float = math.inf) -> None:
        super().__init__()
        for where, keys in (("config.json", CONFIG), ("autoencoder", AUTOENCODER), ("quantizer", QUANTIZER)):
            part = config if where == "config.json" else config[where]
            odd = sorted((set(part) ^ keys) - LATER) if isinstance(part, dict) else [repr(part)]
            if odd:
                raise ValueError(f"{where}: {', '.join(odd)} is missing or not known: take the folder's own loader")
        net, quantizer = config["autoencoder"], config["quantizer"]
        widths, levels, context = net["widths"], quantizer["levels"], net["encoder_context"]
        if str(quantizer["kind"]) not in self.quantizers or str(context) not in ("patch", "local", "wide"):
            raise ValueError(f"config.json: kind {quantizer['kind']!r} or context {context!r} is not known here")
        sizes = [net[name] for name in ("time_stride", "patch_size", "encoder_depth", "decoder_depth")]
        for name, values, least in (("sizes", sizes, 1), ("widths", widths, 1), ("levels", levels, 3)):
            whole = isinstance(values, list) and all(type(v) is int and least <= v <= 2**24 for v in values)
            if not whole or not values:
                raise ValueError(f"config.json: {name} {values!r} must be whole numbers from {least} to 2**24")
        self.time_stride, self.patch_size, *depths = sizes
        channels = self.time_stride * self.patch_size**2 * 3
        if channels * widths[0] + sum(depths) * sum(width**2 for width in widths) > most:  # before memory is taken
            raise ValueError("config.json asks for more numbers than model.safetensors has bytes: copy both again")
        self.quantizer = self.quantizers[quantizer["kind"]](quantizer)
        self.space_stride, self.codebook_size = self.patch_size * 2 ** (len(widths) - 1), self.quantizer.codebook_size
        trunk = _Trunk([nn.Linear(channels, widths[0])])
        for level, width in enumerate(widths):
            if level:
                trunk.append(_Down(4 * widths[level - 1], width))
            near, reach = context == "wide" or (context == "local" and level == 0), 2 if context == "wide" else 0
            trunk.extend(_Block(width, near, reach) for _ in range(net["encoder_depth"]))
        head = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], self.quantizer.dim))
        self.encoder = nn.ModuleDict({"trunk": trunk, "to_latent": head})
        trunk = _Trunk([_Conv(self.quantizer.dim, widths[-1], 3, padding=1)])
        for level in reversed(range(len(widths))):
            trunk.extend(_Block(widths[level], True, 2) for _ in range(net["decoder_depth"]))
            if level:
                trunk.append(_Up(widths[level], 4 * widths[level - 1]))
        head = nn.Sequential(nn.LayerNorm(widths[0]), nn.SiLU(), nn.Linear(widths[0], channels))
        self.decoder = nn.ModuleDict({"trunk": trunk, "to_patches": head})
        self.float().eval().requires_grad_(False)  # whatever torch.set_default_dtype has been told

    def load_weights(self, tensors: dict[str, Tensor]) -> "StandaloneTokenizer":
        """Take exactly the tensors that the configuration asks for; returns itself."""
        try:
            self.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"copy model.safetensors and config.json again: {' '.join(str(error).split())}") from error
        return self

    def encode_chunk(self, video_BCTHW: Tensor, past: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Frames of whole latent frames -> their codes, and the state for the next chunk; nothing is checked."""
        if past is None:  # the first frame of a clip is held to fill a latent frame
            held = video_BCTHW[:, :, :1].expand(-1, -1, self.time_stride - 1, -1, -1)
            video_BCTHW = torch.cat([held, video_BCTHW], dim=2)
        side = self.patch_size
        split = video_BCTHW.unflatten(2, (-1, self.time_stride)).unflatten(4, (-1, side)).unflatten(6, (-1, side))
        patches_BTHWC = split.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)
        features, states = self.encoder["trunk"](patches_BTHWC, past)
        return self.quantizer.encode(self.encoder["to_latent"](features)), states

    def decode_chunk(self, codes_BTHW: Tensor, past: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Codes -> their frames, and the state for the next chunk; nothing is checked."""
        features, states = self.decoder["trunk"](self.quantizer.decode(codes_BTHW), past)
        split = self.decoder["to_patches"](features).unflatten(4, (self.time_stride, *2 * [self.patch_size], 3))
        video_BCTHW = split.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)
        return video_BCTHW[:, :, self.time_stride - 1 if past is None else 0 :].clamp(-1, 1), states

    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Video in [-1, 1], (B, 3, 1 + k * time_stride, H, W) -> codes (B, 1 + k, H/s, W/s), int64."""
        if video_BCTHW.ndim != 5 or video_BCTHW.shape[2] % self.time_stride != 1 % self.time_stride:
            raise ValueError(f"a video must have 1 + {self.time_stride}k frames, not be {tuple(video_BCTHW.shape)}")
        return self.stream().encode(video_BCTHW)

    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Codes (B, 1 + k, h, w) -> video (B, 3, 1 + k * time_stride, h*s, w*s) in [-1, 1]."""
        return self.stream().decode(codes_BTHW)

    def stream(self) -> "Stream":
        """A fresh stream, for encoding or decoding one clip of any length."""
        return Stream(self)


class Stream:
    """One clip in chunks of any length; frames that do not fill a latent frame yet wait for the next chunk."""

    def __init__(self, tokenizer: StandaloneTokenizer) -> None:
        self.tokenizer, self._encoder_past, self._decoder_past, self._waiting = tokenizer, None, None, None
        if any(weight.dtype != torch.float32 for weight in tokenizer.parameters()):
            raise ValueError("the tokenizer's weights are no longer float32, as they must be: call its float()")

    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Further frames -> codes of the latent frames that they complete, (B, 0 or more, h, w)."""
        space, stride, shape = self.tokenizer.space_stride, self.tokenizer.time_stride, tuple(video_BCTHW.shape)
        divides = len(shape) == 5 and shape[1] == 3 and 0 not in shape[3:] and not any(s % space for s in shape[3:])
        if not divides or video_BCTHW.dtype != torch.float32:
            raise ValueError(f"a video must be float32 (B, 3, T, {space}k, {space}l), not {video_BCTHW.dtype} {shape}")
        if video_BCTHW.numel() and not -1.001 <= float(video_BCTHW.min()) <= float(video_BCTHW.max()) <= 1.001:
            raise ValueError("values of a video must lie in [-1, 1]: bytes are to be divided by 127.5, less 1")
        video_BCTHW = video_BCTHW if self._waiting is None else torch.cat([self._waiting, video_BCTHW], dim=2)
        ends = range(1 if self._encoder_past is None else stride, video_BCTHW.shape[2] + 1, stride)
        self._waiting = video_BCTHW[:, :, ends[-1] if ends else 0 :].clone()
        codes = [video_BCTHW.new_zeros((shape[0], 0, *(side // space for side in shape[3:])), dtype=torch.long)]
        with torch.no_grad(), torch.autocast(video_BCTHW.device.type, enabled=False):  # codes must not depend on it
            for end in ends:  # one by one, so that chunks equal the whole to the bit
                frames = video_BCTHW[:, :, max(0, end - stride) : end]
                part, self._encoder_past = self.tokenizer.encode_chunk(frames, self._encoder_past)
                codes.append(part)
        return torch.cat(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes_BTHW: Tensor) -> Tensor:
        """Further latent frames -> their frames: one for the first, time_stride for each of the others."""
        if codes_BTHW.dtype != torch.long or codes_BTHW.ndim != 4 or 0 in codes_BTHW.shape:
            raise ValueError(f"codes must be int64 (B, T, h, w), not {codes_BTHW.dtype} {tuple(codes_BTHW.shape)}")
        if not 0 <= int(codes_BTHW.min()) <= int(codes_BTHW.max()) < self.tokenizer.codebook_size:
            raise ValueError(f"codes must be below {self.tokenizer.codebook_size}: did another tokenizer make them?")
        with torch.autocast(codes_BTHW.device.type, enabled=False):
            return torch.cat([self._decode_one(codes_B1HW) for codes_B1HW in codes_BTHW.split(1, dim=1)], dim=2)

    def _decode_one(self, codes_B1HW: Tensor) -> Tensor:
        video_BCTHW, self._decoder_past = self.tokenizer.decode_chunk(codes_B1HW, self._decoder_past)
        return video_BCTHW


class _Conv(nn.Conv2d):  # convolution of every frame by itself, channels last
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1).movedim(-1, 1)).movedim(1, -1).unflatten(0, (-1, input.shape[1]))


class _Block(nn.Module):  # norm, SiLU, map over space, norm, SiLU, mix over time; added to the input
    def __init__(self, channels: int, neighbours: bool, reach: int) -> None:
        super().__init__()
        space = _Conv(channels, channels, 3, padding=1) if neighbours else nn.Linear(channels, channels)
        self.spatial = nn.Sequential(nn.LayerNorm(channels), nn.SiLU(), space, nn.LayerNorm(channels), nn.SiLU())
        self.reach, self.temporal = reach, nn.ModuleDict({"mix": nn.Linear((reach + 1) * channels, channels)})


class _Down(nn.Linear):  # the features of 2x2 places become those of one
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).transpose(3, 4).flatten(4))


class _Up(nn.Linear):  # the features of one place become those of 2x2
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).unflatten(4, (2, 2, -1)).transpose(3, 4).flatten(4, 5).flatten(2, 3)


class _Trunk(nn.ModuleList):  # layers in a row; state: of every block that looks back, the last frames its mix took in
    def forward(self, features: Tensor, past: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        states: list[Tensor] = []
        for layer in self:
            if not isinstance(layer, _Block):
                features = layer(features)
                continue
            mixed, reach = layer.spatial(features), layer.reach
            if reach:  # before the first frame of a clip stands the first frame again
                before = mixed[:, :1].expand(-1, reach, -1, -1, -1) if past is None else past[len(states)]
                timeline = torch.cat([before, mixed], dim=1)
                states.append(timeline[:, -reach:])
                mixed = torch.cat([timeline[:, k : k + features.shape[1]] for k in range(reach + 1)], dim=-1)
            features = features + layer.temporal["mix"](mixed)
        return features, states
