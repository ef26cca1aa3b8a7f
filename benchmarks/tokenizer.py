"""Time a video tokenizer, measure its memory against length, and its pictures against those of video codecs.

    python benchmarks/tokenizer.py [--quick] [--tokenizer shapes] [--output FILE.json]
    python benchmarks/tokenizer.py --tokenizer natural --clips FOLDER --unseen-column repo --size 128

Rivals: for speed the network as it is, of which the others are compiled or exported forms; for memory a clip a
hundredth as long; for pictures H.264 and AV1 at as many bits per pixel as the codes take, on the same clips. Without
--clips, clips of the shapes world that no training has seen; with --unseen-column those that `ClipDataModule` keeps for
validation when whole values of that column stay on one side, as in `configs/tokenizer/natural.yaml`; with --prior-steps
also the bits that are left of a code under a small causal model trained on the codes of the other clips; with --parts
some of it alone. A ratio above 1 is in our favour.
"""

import io
import math
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _code_prior import bits_per_code
from _program import command, leave_out, medians, options, peak_megabytes, publish

from videogpt.evaluation.reconstruction import find_clips, reconstruct_clip
from videogpt.evaluation.report import Report
from videogpt.pipeline.names import load_tokenizer
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.data.batches import ClipDataModule
from videogpt_tokenizer.export.graphs import make_graphs, write_graphs
from videogpt_tokenizer.export.loader_file import standalone_of
from videogpt_tokenizer.metrics import SSIM_PROTOCOL, codebook_use, psnr, ssim
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# B batch (1), C colours, T frames, H/W height and width
FRAMES, SIDE, CHUNK = 17, 64, 32
UNSEEN_SEED, UNSEEN_SHARE = 7_000_000, 0.2
CODECS = {
    "H.264": ("libx264", {"preset": "medium"}, (8, 14, 20, 26, 32, 38, 44, 51)),
    "AV1": ("libsvtav1", {"preset": "6"}, (8, 16, 24, 32, 40, 48, 56, 63)),
}
PARTS = ("speed", "memory", "pictures")
PROTOCOL = (
    "speed: medians of {rounds} rounds in turns, wall time, {threads} threads, {frames} frames of {side} x {side}, "
    "batch 1, plain and by {ways}; memory: the largest resident set of a process that encodes and decodes random "
    "frames in chunks of {chunk}; pictures: mean over {clips} clips of at most {most} frames, PSNR of RGB in 8 bits, "
    "bits of raw codes, packets of the codecs without container, one clip at a time, yuv420p, PSNR read off between "
    f"quality settings; SSIM: {SSIM_PROTOCOL}"
)

Runs = tuple[Callable[[], Any], Callable[[], Any]]
"""Encode and decode."""


@torch.inference_mode()
def speed(report: Report, tokenizer: VideoTokenizer, rounds: int, others: Sequence[str]) -> None:
    """Frames per second of whole clips: plain, compiled, and exported."""
    video_BCTHW = torch.rand(1, 3, FRAMES, SIDE, SIDE) * 2 - 1
    codes_BTHW = tokenizer.encode(video_BCTHW)
    ways = {
        "encode": {"plain": lambda: tokenizer.encode(video_BCTHW)},
        "decode": {"plain": lambda: tokenizer.decode(codes_BTHW)},
    }
    for way in others:
        with leave_out(way, Exception):  # whatever this machine or this quantizer lacks
            for half, run in zip(ways, WAYS[way](tokenizer, video_BCTHW, codes_BTHW), strict=True):
                run()
                ways[half][way] = run
    for half, runs in ways.items():
        plain, *rates = (1e3 * FRAMES / milliseconds for milliseconds in medians(list(runs.values()), rounds))
        report.add(half, plain, "frames/s", lower_is_better=False)
        for way, rate in zip(list(runs)[1:], rates, strict=True):
            report.add(f"{half}, {way}", rate, "frames/s", lower_is_better=False, rival="plain", rival_value=plain)


def _compiled(tokenizer: VideoTokenizer, video_BCTHW: torch.Tensor, codes_BTHW: torch.Tensor) -> Runs:
    encode, decode = torch.compile(tokenizer.encode), torch.compile(tokenizer.decode)
    return lambda: encode(video_BCTHW), lambda: decode(codes_BTHW)


def _exported(kind: str, tokenizer: VideoTokenizer, video_BCTHW: torch.Tensor, codes_BTHW: torch.Tensor) -> Runs:
    """By the graphs for whole clips, from their files; that they do what the tokenizer does is for tests to say."""
    graphs = make_graphs(standalone_of(tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        run = write_graphs({half: graphs[half] for half in ("encoder", "decoder")}, kind, Path(folder))
    return lambda: run("encoder", [video_BCTHW]), lambda: run("decoder", [codes_BTHW])


WAYS: dict[str, Callable[..., Runs]] = {
    "torch.compile": _compiled,
    "onnx": partial(_exported, "onnx"),
    "torch-export": partial(_exported, "torch-export"),
}


def megabytes_of(tokenizer: str, frames: int) -> float:
    """Largest resident set of a process that passes so many frames through, a chunk at a time."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_pass_through, (tokenizer, frames))


@torch.inference_mode()
def _pass_through(name: str, frames: int) -> float:
    torch.set_num_threads(1)
    stream = load_tokenizer(name).stream()
    for start in range(0, frames, CHUNK):
        video_BCTHW = torch.rand(1, 3, min(CHUNK, frames - start), SIDE, SIDE) * 2 - 1
        stream.decode(stream.encode(video_BCTHW))
    return peak_megabytes()


def codec_points(
    clip: Clip, encoder: str, settings: dict[str, str], qualities: tuple[int, ...]
) -> list[tuple[float, float]]:
    """Bits per pixel and PSNR of a codec at several quality settings, by bits."""
    points = []
    for quality in qualities:
        file = io.BytesIO()
        bits = 8 * _encode(clip, file, encoder, {**settings, "crf": str(quality)})
        result = _video(Clip(_decode(file), clip.fps))
        pixels = len(clip) * clip.height * clip.width
        points.append((bits / pixels, float(psnr(result, _video(clip)))))
    return sorted(points)


def psnr_at(points: list[tuple[float, float]], bits_per_pixel: float) -> float:
    """Between two settings, by the logarithm of the bits; beyond the last, the last."""
    bits, found = np.array(points).T
    return float(np.interp(math.log(bits_per_pixel), np.log(bits), found))


def _encode(clip: Clip, file: io.BytesIO, encoder: str, settings: dict[str, str]) -> int:
    """Bytes of all packets."""
    import av

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(encoder, rate=round(clip.fps) or 1, options=settings)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(frame_HWC, format="rgb24") for frame_HWC in clip.frames_THWC.numpy()]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]  # None: those held back
        container.mux(packets)
    return sum(packet.size for packet in packets)


def _decode(file: io.BytesIO) -> torch.Tensor:
    import av

    file.seek(0)
    with av.open(file) as container:
        return torch.stack([torch.from_numpy(x.to_ndarray(format="rgb24")) for x in container.decode(video=0)])


def _video(clip: Clip) -> torch.Tensor:
    return clip.video_CTHW()[None]


def temporal_psnr(result: torch.Tensor, target: torch.Tensor) -> float:
    """PSNR of the changes from frame to frame: what flickers or stands still costs here."""
    return float(psnr(result.diff(dim=2), target.diff(dim=2))) if target.shape[2] > 1 else math.nan


@torch.inference_mode()
def pictures(report: Report, tokenizer: VideoTokenizer, clips: list[Clip]) -> None:
    """What the codes keep, and what H.264 and AV1 keep in as many bits."""
    figures: dict[str, list[float]] = {"PSNR": [], "temporal PSNR": [], "SSIM": [], "bits": []}
    rivals: dict[str, list[float]] = {name: [] for name in CODECS}
    counts_SV: torch.Tensor | int = 0
    for clip in clips:
        result, num_codes = reconstruct_clip(clip, tokenizer)
        counts_SV = counts_SV + tokenizer.quantizer.count(tokenizer.encode_clips([clip.video_CTHW()])[0].codes_THW)
        video, target = _video(result), _video(clip)
        bits = num_codes * tokenizer.bits_per_code() / (len(clip) * clip.height * clip.width)
        found = (float(psnr(video, target)), temporal_psnr(video, target), float(ssim(video, target)), bits)
        for own, value in zip(figures.values(), found, strict=True):
            own.append(value)
        for name, codec in CODECS.items():
            rivals[name].append(psnr_at(codec_points(clip, *codec), bits))
    mean = {name: statistics.mean(values) for name, values in figures.items()}
    report.add("raw codes", mean["bits"], "bits per pixel")
    for stage, counts_V in enumerate(torch.as_tensor(counts_SV)):
        which = f" of stage {stage}" if tokenizer.stages > 1 else ""
        report.add(f"codebook in use{which}", 100 * codebook_use(counts_V).share, "%", lower_is_better=False)
        report.add(f"codebook perplexity{which}", codebook_use(counts_V).perplexity, "codes", lower_is_better=False)
    report.add("SSIM", mean["SSIM"], "")
    report.add("temporal PSNR", mean["temporal PSNR"], "dB", lower_is_better=False)
    for name, values in rivals.items():
        value = statistics.mean(values)
        rival = f"{name}, as many bits"
        report.add("PSNR", mean["PSNR"], "dB", lower_is_better=False, rival=rival, rival_value=value)


def bits_left(report: Report, tokenizer: VideoTokenizer, folder: str, column: str, size: int, steps: int) -> None:
    """Bits per pixel after a `CodePrior` against raw codes, on the clips not trained on."""
    split = {"validation_column": column, "validation_fraction": UNSEEN_SHARE, "num_frames": FRAMES}
    data = ClipDataModule(folder, **split, size=size, crop_margin=size // 4, batch_size=4)
    bits = bits_per_code(tokenizer, data.train_dataloader(), data.val_dataloader(), steps)
    raw = tokenizer.bits_per_code()
    latents = (FRAMES - 1) // tokenizer.time_stride + 1
    codes_per_pixel = latents / (FRAMES * tokenizer.space_stride**2)
    rival = {"rival": "raw codes", "rival_value": raw * codes_per_pixel}
    report.add(f"codes after a prior of {steps:,} steps", bits * codes_per_pixel, "bits per pixel", **rival)


def read_clips(folder: str | None, column: str | None, size: int, most_clips: int, most_frames: int) -> Iterator[Clip]:
    """Clips spread evenly over a folder, or over the part of it that was not trained on, or drawn anew."""
    if folder is None:
        world = ShapesWorld()
        yield from (world.render(world.scene(UNSEEN_SEED, index)) for index in range(most_clips))
        return
    if column is not None:
        split = {"validation_column": column, "validation_fraction": UNSEEN_SHARE, "num_frames": most_frames}
        data = ClipDataModule(folder, **split, size=size, batch_size=1)
        data.setup("validate")
        videos = [batch["video"][0] for batch in data.val_dataloader()]
        yield from (Clip.from_video(video, 25.0) for video in videos[:: max(1, len(videos) // most_clips)][:most_clips])
        return
    paths = find_clips([folder])
    for path in paths[:: max(1, len(paths) // most_clips)][:most_clips]:
        clip = Clip.read(path, size=size)
        yield Clip(clip.frames_THWC[:most_frames], clip.fps)


def main() -> None:
    parser = options(__doc__, quick="fewer rounds, clips and frames, and of the other forms ONNX alone")
    parser.add_argument("--tokenizer", default="shapes", metavar="DIR|NAME", help="tokenizer, or model that holds one")
    parser.add_argument("--clips", metavar="FOLDER", help="clips for the pictures")
    parser.add_argument("--unseen-column", metavar="NAME", help="only clips kept for validation by this column")
    parser.add_argument("--size", type=int, default=128, metavar="N", help="clips are scaled and cut to N x N (128)")
    parts = ", ".join(PARTS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {parts}")
    parser.add_argument("--prior-steps", type=int, default=0, metavar="N", help="train a prior on the codes (0: none)")
    args = parser.parse_args()
    if args.prior_steps and not (args.clips and args.unseen_column):
        parser.error("--prior-steps needs --clips and --unseen-column: what it learns from and what it has not seen")
    os.environ["SVT_LOG"] = "0"
    torch.manual_seed(0)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    rounds, most_clips, most_frames, long = (5, 4, FRAMES, 1_000) if args.quick else (21, 60, 17, 10_000)
    others = ["onnx"] if args.quick else list(WAYS)  # compiling takes longer than all else of the quick form
    clips = list(read_clips(args.clips, args.unseen_column, args.size, most_clips, most_frames))
    sizes = {
        "frames": FRAMES,
        "side": SIDE,
        "chunk": CHUNK,
        "clips": len(clips),
        "most": most_frames,
        "ways": ", ".join(others),
    }
    what = PROTOCOL.format(rounds=rounds, threads=torch.get_num_threads(), **sizes)
    tokenizer = load_tokenizer(args.tokenizer)
    report = Report.start(command(), {"what": what, "tokenizer": tokenizer.fingerprint()})
    if "speed" in args.parts:
        speed(report, tokenizer, rounds, others)
    if "memory" in args.parts:
        short, whole = (megabytes_of(args.tokenizer, frames) for frames in (long // 100, long))
        rival = f"{long // 100:,} frames"
        report.add(f"memory, {long:,} frames", whole, "MB", rival=rival, rival_value=short)
    if "pictures" in args.parts:
        pictures(report, tokenizer, clips)
    if args.prior_steps:
        bits_left(report, tokenizer, args.clips, args.unseen_column, args.size, args.prior_steps)
    publish(report, args.output)


if __name__ == "__main__":
    main()
