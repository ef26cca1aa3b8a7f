"""A text tokenizer (SentencePiece with byte fallback) from the captions of a folder of clips.

    videogpt train-text data/shapes --output text.model

The file appears whole or not at all, and never over another. Training makes a text tokenizer by itself where it is
given none.
"""

import argparse

from videogpt.commands import add_columns, clips_of, new_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", metavar="CLIPS", help="folder of captioned clips")
    add("--output", required=True, metavar="FILE", help="file to write, for example text.model")
    add_columns(parser)
    add("--vocab-size", type=int, default=512, metavar="N", help="the most tokens (512, at least 258)")


def run(arguments: argparse.Namespace) -> None:
    from videogpt_tokenizer.files.output import output_folder, writing_to
    from videogpt_tokenizer.text_tokenizer import TextTokenizer

    output = new_output(arguments.output)
    captions = clips_of(arguments).captions()
    if not any(captions):
        raise ValueError(f"no clip of {arguments.clips} has a caption: there is nothing to train a text tokenizer on")
    with output_folder(output.absolute().parent, output=output):
        tokenizer = TextTokenizer.train(captions, vocab_size=arguments.vocab_size)
        with writing_to(output):
            tokenizer.save(output)
    print(f"{output}: {tokenizer.vocab_size} tokens from {len(captions)} captions")
