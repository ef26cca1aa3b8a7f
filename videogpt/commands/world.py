"""Generate a captioned data set: a folder of clips with metadata.csv, ready for tokenize and for training.

    videogpt world shapes --output data/shapes --clips 5000 --seed 0
    videogpt world sprites --source lpc_sprites --output data/sprites --clips 5000

The folder appears whole or not at all. The same arguments give the same clips.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each world."""
    worlds = parser.add_subparsers(dest="world", metavar="WORLD", required=True)
    shapes = worlds.add_parser("shapes", help="shapes that move, turn, grow and change colour, with a checker")
    shapes.set_defaults(generate=_shapes)
    sprites = worlds.add_parser("sprites", help="68,600 clips of characters, put together from sprite sheets")
    sprites.add_argument("--source", required=True, metavar="DIR", help="folder of the sprite sheets")
    sprites.set_defaults(generate=_sprites)
    for world in (shapes, sprites):
        world.add_argument("--output", required=True, metavar="DIR", help="folder to make; must not hold anything")
        world.add_argument("--clips", type=int, required=True, metavar="N", help="how many clips")
        world.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other clips (0)")
        world.add_argument(
            "--split",
            choices=("train", "held_out"),
            default="train",
            help="held_out: only combinations that train never shows (train)",
        )


def run(arguments: argparse.Namespace) -> None:
    """Generate the chosen world; prints its folder."""
    from videogpt.console.progress import Progress

    with Progress(arguments.world, arguments.clips, unit="clips") as progress:
        for _ in arguments.generate(arguments):
            progress.advance()
    print(arguments.output)


def _shapes(arguments: argparse.Namespace) -> Iterable[Path]:
    from videogpt.worlds.writer import write_world

    return write_world(arguments.output, arguments.clips, seed=arguments.seed, split=arguments.split)


def _sprites(arguments: argparse.Namespace) -> Iterable[Path]:
    from videogpt.worlds.sprites.scene import write_sprites

    return write_sprites(
        arguments.source, arguments.output, arguments.clips, seed=arguments.seed, split=arguments.split
    )
