"""One door to every video tokenizer: of this project, or of another.

    tokenizer = load_video_tokenizer("natural")                      # shipped, or a folder that save_pretrained wrote
    tokenizer = load_video_tokenizer("ucf101_stride4x4x4.ckpt")      # a checkpoint of VideoGPT's VQ-VAE
    tokenizer = load_video_tokenizer("Cosmos-Tokenizer-DV4x8x8", trust_torchscript=True)   # encoder.jit, decoder.jit

What all of them can do is said in `grid.Tokenizer`; only `VideoTokenizer` streams.
"""

from pathlib import Path

from videogpt_tokenizer.grid import Tokenizer
from videogpt_tokenizer.imported.torchscript import TorchScriptTokenizer, is_torchscript_pair
from videogpt_tokenizer.imported.vqvae import VQVAETokenizer, is_vqvae_folder
from videogpt_tokenizer.imported.vqvae_checkpoint import read_vqvae_checkpoint
from videogpt_tokenizer.video_tokenizer import VideoTokenizer, shipped_tokenizers


def load_video_tokenizer(path: str | Path, *, trust_torchscript: bool = False) -> Tokenizer:
    """Load a tokenizer by what the path is, onto the CPU and in evaluation mode.

    Args:
        path: Name of a shipped tokenizer, folder of a tokenizer, folder with encoder.jit and decoder.jit, or file of a
            checkpoint of VideoGPT's VQ-VAE. Whatever else is a name on the Hub, `owner/name`.
        trust_torchscript: True to run the programs in encoder.jit and decoder.jit: what that means is said at the head
            of `imported.torchscript`.
    """
    if str(path) in shipped_tokenizers() or not is_imported(Path(path)):
        return VideoTokenizer.from_pretrained(path)
    if Path(path).is_file():
        return read_vqvae_checkpoint(path)
    if is_torchscript_pair(Path(path)):
        return TorchScriptTokenizer.from_folder(path, trust_torchscript=trust_torchscript)
    return VQVAETokenizer.from_pretrained(path)


def is_imported(path: Path) -> bool:
    """Whether what is there would be loaded as a tokenizer of another project, if it can be loaded."""
    return path.is_file() or is_torchscript_pair(path) or is_vqvae_folder(path)
