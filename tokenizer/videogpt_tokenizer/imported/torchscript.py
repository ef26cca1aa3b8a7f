"""Pairs of TorchScript archives, `encoder.jit` and `decoder.jit`, as one tokenizer: the form of NVIDIA's Cosmos-DV.

    tokenizer = TorchScriptTokenizer.from_folder("Cosmos-Tokenizer-DV4x8x8", trust_torchscript=True)
    codes_BTHW = tokenizer.encode(video_BCTHW)      # float in [-1, 1], 1 + k * time_stride frames

**What loading means.** An archive brings no Python, and none is run: but it is a program in TorchScript's own language,
which `encode` and `decode` run. It can use every operator of torch, among them one that creates and writes files, and
take whatever memory and time it likes. Only `trust_torchscript=True` runs it: give that for archives from a source you
trust, as you would start a program from there.

The encoder takes a video (B, 3, 1 + k * time_stride, H, W) and returns the codes (B, 1 + k, h, w) first of a tuple;
the decoder takes codes and returns a video. Compression is found by sending zeros through both; the vocabulary is
read from the quantizer's buffers. The archives keep the number type of their weights.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videogpt_tokenizer.checks import check_codes, check_whole
from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.imported.whole_clips import WholeClipTokenizer

# B batch, C colours (3), T frames (of pixels, or of latents where codes are meant), H/W height and width

ENCODER_NAME = "encoder.jit"
DECODER_NAME = "decoder.jit"
PROBE_FRAMES = 16
"""Frames after the first of the zeros that are sent through: time strides up to this are found."""
PROBE_SIDE = 64
"""Pixels a side of them: space strides up to this are found."""
CLIP_FRAMES = 16
"""Frames after the first of a clip where a video is cut, as in NVIDIA's own program."""


class TorchScriptTokenizer(WholeClipTokenizer):
    """Two archives as a `Tokenizer`. The first frame has a latent frame of its own."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        codebook_size: int,
        time_stride: int,
        space_stride: int,
        sha: str,
    ) -> None:
        """`sha` tells this pair from others; see `fingerprint`."""
        super().__init__()
        self.encoder, self.decoder, self._sha = encoder, decoder, sha
        self.codebook_size, self.time_stride, self.space_stride = codebook_size, time_stride, space_stride
        self.frames_at_once = self.num_frames(1 + max(1, CLIP_FRAMES // time_stride))
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)  # its device is ours, also without weights

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        trust_torchscript: bool = False,
        codebook_size: int | None = None,
        time_stride: int | None = None,
        space_stride: int | None = None,
    ) -> "TorchScriptTokenizer":
        """Load both archives, onto the CPU and in evaluation mode, and send one clip of zeros through.

        ValueError where they are not trusted, missing or damaged, or do not behave as the head of this file says.

        Args:
            codebook_size: Size of the vocabulary, where the archives do not say.
            time_stride, space_stride: Where they are too large to be found (above 16 and 64), or to hold them to it.
        """
        paths = [Path(folder) / name for name in (ENCODER_NAME, DECODER_NAME)]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise ValueError(f"{folder} lacks {', '.join(missing)}: a pair of TorchScript archives is wanted")
        if not trust_torchscript:
            raise ValueError(
                f"{folder} holds TorchScript programs, which run when they are used: if you trust where they come "
                "from, say so with trust_torchscript=True (--trust-torchscript)"
            )
        encoder, decoder = (_load(path) for path in paths)
        size = codebook_size if codebook_size is not None else _find_codebook_size([encoder, decoder], folder)
        check_whole("codebook_size", size, 2, 2**31)
        frames = PROBE_FRAMES if time_stride is None else time_stride
        side = PROBE_SIDE if space_stride is None else space_stride
        found = _probe(encoder, decoder, str(folder), frames, side)
        for name, given in (("time_stride", time_stride), ("space_stride", space_stride)):
            if given is not None and given != found[name]:
                raise ValueError(f"{name} is given as {given}, but {folder} compresses by {found[name]}")
        sha = hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()
        tokenizer = cls(encoder, decoder, codebook_size=size, **found, sha=sha).eval()
        highest = torch.full((1, 1, 2, 2), size - 1)
        _run(tokenizer.decode, highest, f"{folder}: decoder of the highest code, {size - 1},")
        return tokenizer

    def encode_clip(self, video_BCTHW: Tensor) -> Tensor:
        codes_BTHW = _codes(_encode(self.encoder, video_BCTHW))
        check_codes(codes_BTHW, self.codebook_size)
        return codes_BTHW

    def decode_clip(self, codes_BTHW: Tensor) -> Tensor:
        return self.decoder(codes_BTHW)

    def fingerprint(self) -> str:
        """SHA-256 over the two files."""
        return self._sha


def is_torchscript_pair(folder: Path) -> bool:
    """Whether the folder holds encoder.jit and decoder.jit."""
    return (folder / ENCODER_NAME).is_file() and (folder / DECODER_NAME).is_file()


def _load(path: Path) -> torch.jit.ScriptModule:
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is truncated or no TorchScript archive: copy it again") from error


def _encode(encoder: Callable[[Tensor], Any], video_BCTHW: Tensor) -> Any:
    """Run the encoder in the number type of its weights; float32 where it has none."""
    parameters = encoder.parameters() if isinstance(encoder, nn.Module) else ()
    kind = next((weight.dtype for weight in parameters if weight.is_floating_point()), torch.float32)
    return encoder(video_BCTHW.to(kind))


def _codes(returned: Any) -> Tensor:
    """The codes among what an encoder returned."""
    codes = returned[0] if isinstance(returned, list | tuple) and returned else returned
    if not isinstance(codes, Tensor) or codes.ndim != 4 or codes.is_floating_point() or codes.is_complex():
        what = f"{codes.dtype} {tuple(codes.shape)}" if isinstance(codes, Tensor) else type(codes).__name__
        raise ValueError(
            f"the encoder returns {what} where codes (batch, frames, height, width) were due: "
            "is it a continuous tokenizer, or one for images?"
        )
    return codes


def _probe(encoder: nn.Module, decoder: nn.Module, folder: str, frames: int, side: int) -> dict[str, int]:
    """Strides, found by sending zeros through both; ValueError where they do not agree with each other."""
    check_whole("time_stride", frames, 1, 256)
    check_whole("space_stride", side, 1, 1024)
    zeros_BCTHW = torch.zeros(1, 3, 1 + frames, side, side)
    size = "x".join(map(str, zeros_BCTHW.shape[2:]))
    codes_BTHW = _run(lambda video: _codes(_encode(encoder, video)), zeros_BCTHW, f"{folder}: encoder of {size} zeros")
    batch, latents, height, width = codes_BTHW.shape
    codes = f"codes {tuple(codes_BTHW.shape)}"
    if not (batch == 1 and latents > 1 and height == width > 0 and frames % (latents - 1) == 0 == side % height):
        raise ValueError(f"{folder}: the encoder makes {codes} of {size}, which is no 1 + k grid")
    video_BCTHW = _run(decoder, codes_BTHW.long(), f"{folder}: decoder of {codes}")
    shape = tuple(video_BCTHW.shape) if isinstance(video_BCTHW, Tensor) else type(video_BCTHW).__name__
    if shape != tuple(zeros_BCTHW.shape):
        raise ValueError(f"{folder}: the decoder makes {shape} of the codes of {tuple(zeros_BCTHW.shape)}")
    return {"time_stride": frames // (latents - 1), "space_stride": side // height}


@torch.no_grad()
def _run(program: Callable[[Tensor], Any], given: Tensor, what: str) -> Any:
    try:
        return program(given)
    except (RuntimeError, IndexError, TypeError) as error:  # what TorchScript raises is a RuntimeError
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{what} fails ({reason[-1]})") from error
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _find_codebook_size(archives: list[torch.jit.ScriptModule], folder: str | Path) -> int:
    """From the buffers of finite scalar quantization (`_levels`), or the rows of a codebook."""
    for archive in archives:
        for name, buffer in archive.named_buffers():
            if name.endswith("_levels") and buffer.ndim == 1 and not buffer.is_floating_point():
                return math.prod(buffer.tolist())
            if name.endswith("implicit_codebook") and buffer.ndim == 2:
                return buffer.shape[0]
    raise ValueError(
        f"{folder}: the archives do not say how many codes there are: "
        "in Python, give TorchScriptTokenizer.from_folder a codebook_size"
    )
