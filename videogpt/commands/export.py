"""A video tokenizer or a model as files for other programs; before they appear they are held against the original.

    videogpt export shapes --format onnx --output exported

safetensors: the weights, and a loader of one file that needs only torch. onnx and torch-export: encoder and decoder,
each for whole clips and for a step of a longer one. manifest.json says what each file takes and gives. Of a model its
tokenizer is exported and, as onnx, the language model beside it, in the folder language-model. The folder must not
exist; it appears whole or not at all. The check of a tokenizer is one of noise and flat pictures: of other clips a code
may differ now and then, where it lies between two.
"""

import argparse

from videogpt.commands import new_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("tokenizer", metavar="DIR|NAME", help="video tokenizer or model")
    add("--format", required=True, choices=("safetensors", "torch-export", "onnx"), help="what to write")
    add("--output", required=True, metavar="DIR", help="folder to make; must not exist")


def run(arguments: argparse.Namespace) -> None:
    from videogpt.pipeline.exported_model import FOLDER_NAME, export_model
    from videogpt.pipeline.exported_model import PROMISE as PROMISE_OF_MODEL
    from videogpt.pipeline.names import is_model, load_tokenizer
    from videogpt.pipeline.saved_model import load_model
    from videogpt_tokenizer.export.export import PROMISE, export_tokenizer
    from videogpt_tokenizer.files.output import whole_folder

    output = new_output(arguments.output)
    tokenizer = load_tokenizer(arguments.tokenizer, device="cpu")
    with_model = arguments.format == "onnx" and is_model(arguments.tokenizer)
    model = load_model(arguments.tokenizer) if with_model else None
    checked_model = None
    with whole_folder(output) as partial:
        checked = export_tokenizer(tokenizer, arguments.format, partial)
        if model is not None:
            (partial / FOLDER_NAME).mkdir()
            checked_model = export_model(model, partial / FOLDER_NAME)
    print(
        f"{output}: {', '.join(sorted(path.name for path in output.iterdir()))}\n"
        f"verified with {checked.codes} codes of {checked.clips} clips, whole and in steps: {PROMISE}; "
        f"pixels differ by {checked.max_pixel_difference:.1e} at most"
    )
    if checked_model is not None:
        print(
            f"{output / FOLDER_NAME}: {', '.join(sorted(path.name for path in (output / FOLDER_NAME).iterdir()))}\n"
            f"verified with {checked_model.codes} codes of {checked_model.clips} prompts: {PROMISE_OF_MODEL}; "
            f"logits differ by {checked_model.max_logit_difference:.1e} at most"
        )
