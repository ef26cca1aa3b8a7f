"""Codes that `videogpt encode` has made back into clips.

    videogpt encode films --tokenizer natural --output codes/films
    videogpt decode codes/films --tokenizer natural --output films-again

Takes the tokenizer that made the codes. Writes each clip as NNNN-name.mp4, at its own length, picture size and rate;
nothing is overwritten. Clips are written as they are decoded, so a long one takes no more memory.
"""

import argparse
import sys

from videogpt.commands import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("codes", metavar="CODES", help="folder of codes of whole clips")
    add("--tokenizer", required=True, metavar="DIR|NAME", help="video tokenizer that made them")
    add("--output", required=True, metavar="DIR", help="folder for the clips")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from videogpt.console.progress import Progress
    from videogpt.pipeline.names import load_tokenizer
    from videogpt.tokens.whole_clips import ClipCodesFolder
    from videogpt_tokenizer.clips.clip import Clip
    from videogpt_tokenizer.files.numbered import next_number, slug
    from videogpt_tokenizer.files.output import output_folder, writing_to

    tokenizer = load_tokenizer(arguments.tokenizer, device=arguments.device)
    clips = ClipCodesFolder(arguments.codes, tokenizer.fingerprint())
    with Progress("decoding", len(clips), unit="clips") as progress, output_folder(Path(arguments.output)) as folder:
        for clip in clips:
            with writing_to(folder), next_number(folder) as number:
                place = folder / f"{number}-{slug(Path(clip.name).stem)}.mp4"
                Clip.write_pieces(place, clip.decoded(tokenizer))
            frames, height, width = clip.codes.num_frames, clip.codes.height, clip.codes.width
            progress.say(f"{clip.name} ({frames}x{height}x{width}) -> {place}", file=sys.stdout)
            progress.advance()
