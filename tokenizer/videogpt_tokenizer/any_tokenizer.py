"""One door to every video tokenizer: of this project, or of another.

    tokenizer = load_video_tokenizer("natural")                      # shipped, or a folder that save_pretrained wrote
    tokenizer = load_video_tokenizer("ucf101_stride4x4x4.ckpt")      # a checkpoint of VideoGPT's VQ-VAE
    tokenizer = load_video_tokenizer("Cosmos-Tokenizer-DV4x8x8", trust_torchscript=True)   # encoder.jit, decoder.jit

All have `encode`, `decode`, `grid`, `num_frames`, `codebook_size`, `time_stride`, `space_stride` and `fingerprint`;
only `VideoTokenizer` has streams.
"""

from pathlib import Path

from videogpt_tokenizer.files.json_files import parse_json
from videogpt_tokenizer.files.weights_folder import CONFIG_NAME
from videogpt_tokenizer.imported.torchscript import TorchScriptTokenizer, is_torchscript_pair
from videogpt_tokenizer.imported.vqvae import FORMAT as VQVAE_FORMAT
from videogpt_tokenizer.imported.vqvae import VQVAETokenizer
from videogpt_tokenizer.imported.vqvae_checkpoint import read_vqvae_checkpoint
from videogpt_tokenizer.imported.whole_clips import WholeClipTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer, shipped_tokenizers

AnyTokenizer = VideoTokenizer | WholeClipTokenizer
"""Of this project, or of another."""


def load_video_tokenizer(path: str | Path, *, trust_torchscript: bool = False) -> AnyTokenizer:
    """Load a tokenizer by what the path is, onto the CPU and in evaluation mode.

    Args:
        path: Name of a shipped tokenizer, folder of a tokenizer, folder with encoder.jit and decoder.jit, or file of a
            checkpoint of VideoGPT's VQ-VAE. Whatever else is a name on the Hub, `owner/name`.
        trust_torchscript: True to run the programs in encoder.jit and decoder.jit: what that means is said at the head
            of `imported.torchscript`.

    Raises:
        ValueError: not found, damaged, of something else, or TorchScript that is not trusted.
    """
    if str(path) in shipped_tokenizers():
        return VideoTokenizer.from_pretrained(path)
    if Path(path).is_file():
        return read_vqvae_checkpoint(path)
    if is_torchscript_pair(Path(path)):
        return TorchScriptTokenizer.from_folder(path, trust_torchscript=trust_torchscript)
    if is_vqvae_folder(Path(path)):
        return VQVAETokenizer.from_pretrained(path)
    return VideoTokenizer.from_pretrained(path)


def is_imported(path: Path) -> bool:
    """Whether what is there would be loaded as a tokenizer of another project, if it can be loaded."""
    return path.is_file() or is_torchscript_pair(path) or is_vqvae_folder(path)


def is_vqvae_folder(folder: Path) -> bool:
    """Whether `config.json` says that VideoGPT's VQ-VAE was saved here."""
    try:
        config = parse_json((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads the folder says what is wrong with it
    return isinstance(config, dict) and config.get("format") == VQVAE_FORMAT
