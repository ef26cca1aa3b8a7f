"""Clips through a video tokenizer and back, with PSNR, SSIM and bits per pixel.

    videogpt reconstruct clip.mp4 other.gif --tokenizer shapes --output reconstructions

Clips may have any size and length: sides are padded to what the tokenizer takes and cut back, the last frame is held
and cut off. They go through in pieces, so a long one takes no more memory. With --output, each reconstruction is
written as NNNN-name.mp4 (with its last row or column repeated where it is odd, as mp4 needs even sides), and all
figures, those of each frame too, as NNNN-figures.json; nothing is overwritten. A clip of a folder that cannot be read
is left out and named, as is one whose pictures do not fit into the memory that is free. A file that was named and
cannot be read is an error, once all others are done. SSIM mirrors borders, which Wang et al., 2004 leave out.
"""

import argparse
import sys

from videogpt.commands import add_any_tokenizer, add_columns, add_device, add_max_bad_share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", nargs="+", metavar="CLIP", help="video or image files, or folders of them")
    add_any_tokenizer(parser)
    add("--output", metavar="DIR", help="folder for the reconstructed clips; none are written without")
    add("--side-by-side", action="store_true", help="write the original left of the reconstruction")
    add("--size", type=int, metavar="N", help="scale and cut to N x N first")
    add("--fps", type=float, metavar="F", help="resample to so many frames per second first")
    add("--num-frames", type=int, metavar="N", help="the first N frames of each clip (all)")
    add_columns(parser)
    add_max_bad_share(parser, "may be unreadable")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from videogpt.console.messages import say
    from videogpt.console.progress import Progress
    from videogpt.evaluation.reconstruction import find_clips, reconstruct
    from videogpt.evaluation.reconstruction_report import mean_of, places_line, write_figures
    from videogpt.pipeline.names import load_any_tokenizer
    from videogpt_tokenizer.clips.skipped import SkippedClips

    if arguments.side_by_side and arguments.output is None:
        raise ValueError("--side-by-side is for files: give an --output, too")
    paths = find_clips(arguments.clips, arguments.file_column, arguments.caption_column, say)
    bad = SkippedClips(len(paths), arguments.max_bad_share)
    tokenizer = load_any_tokenizer(
        arguments.tokenizer, device=arguments.device, trust_torchscript=arguments.trust_torchscript
    )
    if not tokenizer.streams:
        frames = tokenizer.frames_at_once
        print(f"no streams: more than {frames} frames go in windows of so many, each by itself", file=sys.stderr)
    rows, asked = [], {"size": arguments.size, "fps": arguments.fps, "num_frames": arguments.num_frames}
    with Progress("reconstructing", len(paths), unit="clips") as progress:
        for row in reconstruct(
            paths,
            tokenizer,
            arguments.output,
            **asked,
            side_by_side=arguments.side_by_side,
            bad=bad,
            progress=lambda frames: progress.update(len(rows) + len(bad), frames=str(frames)),
        ):
            rows.append(row)
            progress.say(row.line(), file=sys.stdout)
            progress.update(len(rows) + len(bad))
        if rows:
            progress.update(len(paths))
    if rows:
        print(mean_of(rows).line())
        if tokenizer.streams:
            print(places_line([row.figures for row in rows], tokenizer.time_stride))
    if rows and arguments.output is not None:
        settings = asked | {"left out": bad.names}
        written = write_figures(Path(arguments.output), rows, tokenizer, arguments.command, settings)
        print(f"figures -> {written}")
    bad.check(len(paths), required={str(Path(name)) for name in arguments.clips})
    for reason in bad.reasons:
        print(f"left out: {reason}", file=sys.stderr)
    if bad:
        print(f"{len(bad)} of {len(paths)} clips were left out", file=sys.stderr)
