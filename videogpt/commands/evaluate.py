"""Figures of a model: bits per token, PSNR, SSIM, continuation, caption following and speed.

    videogpt evaluate --model shapes --data clips/unseen --output figures.json

Prints the figures as a table. The file of --output also says how, where and with what they were measured.
"""

import argparse
import sys

from videogpt.commands import add_device, add_max_bad_share, add_ways, new_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", default="shapes", metavar="DIR|NAME", help="model folder or shipped model (shapes)")
    add("--data", metavar="DIR", help="folder of captioned clips to measure on; generated ones if not given")
    add("--sheets", metavar="DIR", help="sprite sheets: score caption following on clips of `world sprites`")
    add("--clips", type=int, default=200, metavar="N", help="clips to measure on (200)")
    add("--seed", type=int, default=0, metavar="S", help="seed of the samples (0)")
    add_max_bad_share(parser, "may be unreadable or too short")
    add_device(parser)
    add_ways(parser)
    add("--output", metavar="FILE.json", help="write the figures with command, hardware and protocol")


def run(arguments: argparse.Namespace) -> None:
    from contextlib import nullcontext

    from videogpt.evaluation import evaluate
    from videogpt_tokenizer.files.output import output_folder, writing_to

    output = None if arguments.output is None else new_output(arguments.output)
    with nullcontext() if output is None else output_folder(output.parent, output):  # before minutes of measuring
        report = evaluate(
            arguments.model,
            data=arguments.data,
            sheets=arguments.sheets,
            num_clips=arguments.clips,
            seed=arguments.seed,
            max_bad_share=arguments.max_bad_share,
            device=arguments.device,
            lane=arguments.lane,
            engine=arguments.engine,
            command=arguments.command,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        print(report.table())
        if output is not None:
            with writing_to(output):
                report.write(output)
