"""A tokenizer as the loader of one file has it: without einops and vector-quantize-pytorch, on the CPU.

    standalone = standalone_of(tokenizer)            # in this program
    loaded = write_with_loader(tokenizer, folder)    # as config.json, model.safetensors and load_tokenizer.py

The loader is the text of `standalone`; unless the quantizer is fsq, that of `standalone_stages` follows.
"""

import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from videogpt_tokenizer.export import standalone, standalone_stages
from videogpt_tokenizer.files.weights_folder import write_pretrained
from videogpt_tokenizer.video_tokenizer import TOKENIZER_FORMAT, TOKENIZER_VERSION, VideoTokenizer

_LOADER_NAME = "load_tokenizer.py"
_REGISTER = "\n\nStandaloneTokenizer.quantizers |= STAGED_QUANTIZERS\n"


class _WithStages(standalone.StandaloneTokenizer):
    """What a loader is that has the text of both modules."""

    quantizers = standalone.StandaloneTokenizer.quantizers | standalone_stages.STAGED_QUANTIZERS


def standalone_of(tokenizer: VideoTokenizer) -> standalone.StandaloneTokenizer:
    """The same tokenizer in the loader's classes."""
    config, tensors = _reduced(tokenizer)
    return _WithStages(config).load_weights(tensors)


def write_with_loader(tokenizer: VideoTokenizer, folder: Path) -> Any:
    """Write weights and loader; what comes back, a `StandaloneTokenizer`, was read by that very file."""
    write_pretrained(folder, *_reduced(tokenizer))
    source = Path(standalone.__file__).read_text(encoding="utf-8")
    if tokenizer.config.quantizer.kind != "fsq":
        stages = Path(standalone_stages.__file__).read_text(encoding="utf-8")
        source += "\n\n" + stages.partition("\n\n\n")[2] + _REGISTER  # without its imports
    (folder / _LOADER_NAME).write_text(source, encoding="utf-8")
    loader = ModuleType("load_tokenizer")  # not imported, which would leave its bytecode in the folder
    exec(compile(source, _LOADER_NAME, "exec"), loader.__dict__)
    return loader.load_tokenizer(folder)


def _reduced(tokenizer: VideoTokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and float32 weights of a tokenizer, its quantizer as what evaluation needs of it.

    They are those that `save_pretrained` writes, unless the quantizer has weights of its own.
    """
    config = json.loads(json.dumps(asdict(tokenizer.config)))  # as the loader reads it: tuples are lists
    kind, tensors = TOKENIZER_FORMAT, tokenizer.state_dict()
    if (quantizer := tokenizer.quantizer.reduced()) is not None:
        kind = f"{TOKENIZER_FORMAT}-reduced"
        config["quantizer"] |= {"kind": quantizer[0], "stages": tokenizer.stages}
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("quantizer.")}
        tensors |= {f"quantizer.{name}": tensor for name, tensor in quantizer[1].items()}
    plain = {name: tensor.detach().cpu().float() for name, tensor in tensors.items()}
    return {"format": kind, "version": TOKENIZER_VERSION, **config}, plain
