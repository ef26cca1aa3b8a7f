"""Generate a captioned data set: a folder of clips with metadata.csv, ready for tokenize and for training.

    videogpt world shapes --output data/shapes --clips 5000 --seed 0

The folder appears whole or not at all. The same arguments give the same clips.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each world."""
    worlds = parser.add_subparsers(dest="world", metavar="WORLD", required=True)
    shapes = worlds.add_parser(
        "shapes", help="coloured shapes that move, turn, grow and change colour: 17 frames of 64x64"
    )
    shapes.add_argument(
        "--output", required=True, metavar="DIR", help="folder to make; must not hold anything"
    )
    shapes.add_argument("--clips", type=int, required=True, metavar="N", help="how many clips")
    shapes.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other clips (0)")
    shapes.add_argument(
        "--split",
        choices=("train", "held_out"),
        default="train",
        help="held_out: only combinations that train never shows (train)",
    )
    shapes.set_defaults(generate=_shapes)


def run(arguments: argparse.Namespace) -> None:
    """Generate the chosen world."""
    arguments.generate(arguments)


def _shapes(arguments: argparse.Namespace) -> None:
    from videogpt.progress import Progress
    from videogpt.worlds.world_writer import write_world

    paths = write_world(arguments.output, arguments.clips, seed=arguments.seed, split=arguments.split)
    with Progress("shapes", arguments.clips, unit="clips") as progress:
        for _ in paths:
            progress.advance()
    print(arguments.output)
