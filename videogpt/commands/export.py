"""A video tokenizer as files for other programs; before they appear they are held against the tokenizer.

    videogpt export shapes --format onnx --output exported

safetensors: the weights, and a loader of one file that needs only torch. onnx and torch-export: encoder and decoder,
each for whole clips and for a step of a longer one. manifest.json says what each file takes and gives. Of a model its
tokenizer is exported. The folder must not exist; it appears whole or not at all. The check is one of noise and flat
pictures: of other clips a code may differ now and then, where it lies between two.
"""

import argparse

from videogpt.commands import new_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("tokenizer", metavar="DIR|NAME", help="video tokenizer, or model that holds one")
    add("--format", required=True, choices=("safetensors", "torch-export", "onnx"), help="what to write")
    add("--output", required=True, metavar="DIR", help="folder to make; must not exist")


def run(arguments: argparse.Namespace) -> None:
    from videogpt.pipeline.names import load_tokenizer
    from videogpt_tokenizer.export.export import PROMISE, export_tokenizer
    from videogpt_tokenizer.files.output import whole_folder

    output = new_output(arguments.output)
    tokenizer = load_tokenizer(arguments.tokenizer, device="cpu")
    with whole_folder(output) as partial:
        checked = export_tokenizer(tokenizer, arguments.format, partial)
    print(
        f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}\n"
        f"verified with {checked.codes} codes of {checked.clips} clips, whole and in steps: {PROMISE}; "
        f"pixels differ by {checked.max_pixel_difference:.1e} at most"
    )
