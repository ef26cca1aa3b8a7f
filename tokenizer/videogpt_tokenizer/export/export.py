"""Export of a video tokenizer for programs that know nothing of this package, held against it before it counts.

    export_tokenizer(tokenizer, "onnx", folder)      # fills an empty folder

- safetensors: config.json, model.safetensors and load_tokenizer.py, which reads them with torch alone.
- onnx and torch-export: encoder, decoder, and a step of each that goes on with a clip, its states in and out.

Each folder gets a manifest.json: what the files are, what they take and give, and what was verified. Quantizers that
vector-quantize-pytorch trains become tables and signs here, and nothing exported knows that library. Refuses files that
do not do what the tokenizer does on clips made for it; what that says of other clips is in `PROMISE`. For a folder that
appears whole or not at all, call it inside of one that does.
"""

import copy
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from videogpt_tokenizer.export.graphs import Run, describe, make_graphs, run_of, write_graphs
from videogpt_tokenizer.export.loader_file import standalone_of, write_with_loader
from videogpt_tokenizer.files.checksums import sha256_of
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# B batch, C colours, T frames (latent frames for codes), H/W height and width

ExportKind = Literal["safetensors", "torch-export", "onnx"]
EXPORT_FORMAT, EXPORT_VERSION = "videogpt-tokenizer-export", 1
_TOLERANCE: dict[str, float] = {"safetensors": 1e-5, "torch-export": 1e-4, "onnx": 1e-4}
"""The most that a pixel in [-1, 1] may differ; of the codes that are checked, none may."""
PROMISE = (
    "codes equal the tokenizer's on clips made for the check, noise and flat pictures; of other clips one differs now "
    "and then, where a latent lies between two codes and libraries add up in another order"
)
"""What is verified, and what is not: in the manifest, and said by the command."""
_AXES = {"batch": "clips", "time": "latent frames", "height": "rows of codes", "width": "columns of codes"}


class Verification(NamedTuple):
    """What exported files were held against the tokenizer with."""

    clips: int
    """Made for the check."""
    codes: int
    """Of these clips; none differs, whole or in steps. Of other clips: see `PROMISE`."""
    max_pixel_difference: float
    tolerance: float


def export_tokenizer(tokenizer: VideoTokenizer, kind: ExportKind, folder: Path) -> Verification:
    """Write a tokenizer into an empty folder that is there, and verify what was written."""
    if kind not in get_args(ExportKind):
        raise ValueError(f"export format {kind!r} is not known: choose {', '.join(get_args(ExportKind))}")
    eager = copy.deepcopy(tokenizer).cpu().float().eval()
    quantizer = eager.config.quantizer
    if kind == "safetensors":
        described, run = {}, run_of(make_graphs(write_with_loader(eager, folder)))
    else:
        graphs = make_graphs(standalone_of(eager))
        described, run = describe(graphs, kind), write_graphs(graphs, kind, folder)
    verification = verify(run, eager, _TOLERANCE[kind])
    packages = ("videogpt-lm", "torch", *(("onnx", "onnxscript", "onnxruntime") if kind == "onnx" else ()))
    manifest = {
        "format": EXPORT_FORMAT,
        "version": EXPORT_VERSION,
        "kind": kind,
        "tokenizer": {
            "fingerprint": eager.fingerprint(),
            "codebook_size": eager.codebook_size,
            "levels": list(quantizer.levels) if quantizer.kind in ("fsq", "rfsq") else None,
            "quantizer": quantizer.kind,
            "stages": eager.stages,
            "stage_sizes": list(eager.quantizer.stage_sizes),
            "time_stride": eager.time_stride,
            "space_stride": eager.space_stride,
            "frames": f"1 + {eager.time_stride}k frames are 1 + k latent frames; in a step, {eager.time_stride}k are k",
            "fps": "any; files hold frames and no rate",
            "video": "float32 (batch, RGB, frames, height, width), values in [-1, 1]",
            "codes": f"int64 (batch, frames, height, width), values in [0, {eager.codebook_size})",
        },
        "axes": {name: f"{what}, 1 or more" for name, what in _AXES.items()},
        "graphs": described,
        "files": {
            path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(folder.iterdir())
        },
        "versions": {name: version(name) for name in packages},
        "verification": verification._asdict() | {"promise": PROMISE},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return verification


def verify(run: Run, tokenizer: VideoTokenizer, tolerance: float) -> Verification:
    """Hold what `run` does against the tokenizer on clips made for it, whole and step by step.

    Refuses codes of which one differs, and pixels that differ by more than `tolerance`.
    """
    clips, checked, worst = list(_clips(tokenizer)), 0, 0.0
    generator = torch.Generator().manual_seed(1)
    for video_BCTHW in clips:
        wanted = tokenizer.encode(video_BCTHW)
        latents = wanted.shape[1]
        # The whole, one by one, and a step of several.
        plans = {(latents,), (1,) * latents, (1, latents - 1) if latents > 1 else (1,)}
        for plan in sorted(plans):
            frames = [count * tokenizer.time_stride for count in plan]
            frames[0] = tokenizer.num_frames(plan[0])
            found = _stream(run, "encoder", video_BCTHW.split(frames, dim=2))
            differ = int((_alike(found, wanted) != wanted).sum())
            if differ:
                found = f"{differ} of {wanted.numel()} exported codes differ from the tokenizer's"
                raise ValueError(f"{found}: do not use them")
        anything = torch.randint(tokenizer.codebook_size, wanted.shape, generator=generator)
        for codes_BTHW in (wanted, anything, anything * 0, anything * 0 + tokenizer.codebook_size - 1):
            pixels = tokenizer.decode(codes_BTHW)
            for plan in sorted(plans):
                found = _stream(run, "decoder", codes_BTHW.split(plan, dim=1))
                apart = float((_alike(found, pixels) - pixels).abs().max())
                if not apart <= tolerance:  # also where there is NaN
                    found = f"exported pixels differ by {apart:.2g} from the tokenizer's"
                    raise ValueError(f"{found}, and {tolerance:.0e} is allowed")
                worst = max(worst, apart)
        checked += wanted.numel()
    return Verification(len(clips), checked, worst, tolerance)


def _alike(found: Tensor, wanted: Tensor) -> Tensor:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        kinds = " and not ".join(f"{x.dtype} {tuple(x.shape)}".removeprefix("torch.") for x in (found, wanted))
        raise ValueError(f"exported files give {kinds}: do not use them")
    return found


def _clips(tokenizer: VideoTokenizer) -> Iterator[Tensor]:
    """Noise, an image of one code, and the ends of the range: flat, and alternating without a rule."""
    side, frames = tokenizer.space_stride, tokenizer.num_frames(4)
    generator = torch.Generator().manual_seed(0)
    noise_BCTHW = torch.rand(2, 3, frames, 2 * side, 3 * side, generator=generator) * 2 - 1
    yield from (noise_BCTHW, noise_BCTHW[:1, :, :1, :side, :side], noise_BCTHW[:1].sign())
    yield from (torch.full_like(noise_BCTHW, value) for value in (-1.0, 0.0, 1.0))


def _stream(run: Run, half: str, chunks: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    results, states = [], []
    for index, chunk in enumerate(chunks):
        result, *states = run(f"{half}_step" if index else half, [chunk, *states])
        results.append(result)
    return torch.cat(results, dim=1 if half == "encoder" else 2)
