"""Generate a captioned data set: a folder of clips with metadata.csv, ready for tokenize and for training.

    videogpt world shapes --output data/shapes --clips 5000 --seed 0
    videogpt world sprites --source lpc_sprites --output data/sprites --clips 5000

The folder appears whole or not at all. The same arguments give the same clips.
"""

import argparse

from videogpt.worlds.world import SPLITS, WORLDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    worlds = parser.add_subparsers(dest="world", metavar="WORLD", required=True)
    for name, entry in WORLDS.items():
        world = worlds.add_parser(name, help=entry.help)
        world.set_defaults(source=None)
        if entry.source is not None:
            world.add_argument("--source", required=True, metavar="DIR", help=entry.source)
        world.add_argument("--output", required=True, metavar="DIR", help="folder to make; must not hold anything")
        world.add_argument("--clips", type=int, required=True, metavar="N", help="how many clips")
        world.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other clips (0)")
        about = "held_out: only combinations that train never shows (train)"
        world.add_argument("--split", choices=SPLITS, default="train", help=about)


def run(arguments: argparse.Namespace) -> None:
    from videogpt.console.progress import Progress
    from videogpt.worlds.writer import write_world

    world = WORLDS[arguments.world].make(arguments.source)
    paths = write_world(arguments.output, arguments.clips, seed=arguments.seed, split=arguments.split, world=world)
    with Progress(arguments.world, arguments.clips, unit="clips") as progress:
        for _ in paths:
            progress.advance()
    print(arguments.output)
