"""Describes what training has made: video tokenizers, text tokenizers and models.

    describe_video_tokenizer(Path("runs/tiny-tokenizer/pretrained"))
    describe_text_tokenizer(Path("text.model"))
    describe_model(Path("runs/tiny/pretrained"))

Each is loaded as it is for use, so that checksums, shapes and the fit of the parts are checked. What does not load is
refused.
"""

from pathlib import Path

from videogpt.inspection.found import Inspection, count_parameters
from videogpt.pipeline.saved_model import load_model
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def describe_video_tokenizer(path: Path) -> Inspection:
    """A folder with a video tokenizer."""
    tokenizer = VideoTokenizer.from_pretrained(path)
    side, kind = tokenizer.space_stride, tokenizer.config.quantizer.kind
    return Inspection(
        [
            f"{path}: video tokenizer, {count_parameters(tokenizer)} parameters; its checksum is right",
            f"{kind}: {tokenizer.codebook_size} codes, one for {tokenizer.time_stride}x{side}x{side} pixels",
            f"fingerprint: {tokenizer.fingerprint()}",
        ]
    )


def describe_text_tokenizer(path: Path) -> Inspection:
    """A file with a text tokenizer."""
    tokenizer = TextTokenizer.from_file(path)
    return Inspection(
        [f"{path}: text tokenizer, {tokenizer.vocab_size} tokens", f"fingerprint: {tokenizer.fingerprint()}"]
    )


def describe_model(path: Path) -> Inspection:
    """A folder with a language model and its two tokenizers."""
    model = load_model(path)
    layout = model.task.config
    frames = model.tokenizer.num_frames(layout.latent_frames)
    width, height = (n * model.tokenizer.space_stride for n in (layout.latent_width, layout.latent_height))
    return Inspection(
        [
            f"{path}: model, {count_parameters(model.network)} parameters; all checksums are right, all parts fit",
            f"clips: {frames} frames of {width}x{height} pixels at {model.fps:g} a second",
            f"vocabulary: {model.text_tokenizer.vocab_size} for text, {model.tokenizer.codebook_size} for video",
            f"fingerprint of its video tokenizer: {model.tokenizer.fingerprint()}",
        ]
    )
