"""Export of a language model for programs that know nothing of this package, held against it before it counts.

    export_model(model, folder)          # fills an empty folder: step.onnx, text.model, manifest.json

step.onnx is one pass over M rows of R sequences, as `model/onnx_step.py` describes it, with logits over the codes: it
reads a prompt, draws code by code, or checks a window of guesses. text.model is the text tokenizer (SentencePiece).
manifest.json says what a program needs to lay out prompts: ids, positions and who sees whom. Refuses a file whose
likeliest codes are not those of the model, one by one and in windows. For a folder that appears whole or not at all,
call it inside of one that does.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from videogpt.layouts.task import Example, Prompt
from videogpt.layouts.vocabulary import BOS, BOV, EOT, PAD
from videogpt.pipeline.saved_model import TEXT_NAME, SavedModel
from videogpt.sampling.engines.engine import limits_of
from videogpt.sampling.engines.torch_engine import TorchEngine
from videogpt_tokenizer.files.checksums import sha256_of

# B prompts, M rows, V codes, 3 the axes (t, h, w)

EXPORT_FORMAT, EXPORT_VERSION = "videogpt-model-export", 1
FOLDER_NAME, STEP_NAME = "language-model", "step.onnx"
CHECKED = ("", "a red circle moves left")
"""Prompts of the check."""
Run = Callable[[dict[str, Any]], dict[str, Any]]
"""Runs a step: arrays by name in, arrays by name out."""
PROMISE = "the likeliest codes of the check's prompts equal the model's, drawn one by one and in windows"


class Verification(NamedTuple):
    """What the exported file was held against the model with."""

    clips: int
    codes: int
    """Of these clips, in all; none differs."""
    max_logit_difference: float


def export_model(model: SavedModel, folder: Path) -> Verification:
    """Write a language model into an empty folder that is there, and verify what was written.

    ValueError: a package is missing, the model is too large for a file, or the file does not do what the model does.
    """
    try:
        from videogpt.model.onnx_step import onnx_step
        from videogpt.sampling.engines.onnx_engine import open_session
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'videogpt-lm[export]'") from error
    if model.network.level_head is not None:
        raise ValueError(
            "the model predicts codes by level, and a step with logits of whole codes is all that is exported: export "
            "its tokenizer alone, in the folder tokenizer of the model's"
        )
    video = model.task.vocabulary.ids["video"]
    (folder / STEP_NAME).write_bytes(onnx_step(model.network, ids=video).SerializeToString())
    model.text_tokenizer.save(folder / TEXT_NAME)
    session = open_session((folder / STEP_NAME).read_bytes())
    outputs = [output.name for output in session.get_outputs()]
    verification = verify(model, lambda feeds: dict(zip(outputs, session.run(outputs, feeds), strict=True)))
    layout, heads, channels = model.task.config, model.network.config.kv_heads, model.network.config.head_dim
    manifest = {
        "format": EXPORT_FORMAT,
        "version": EXPORT_VERSION,
        "kind": "onnx",
        "model": {
            "task": model.task.name,
            "tokenizer": model.tokenizer.fingerprint(),
            "text_tokenizer": model.text_tokenizer.fingerprint(),
            "fps": model.fps,
            "sampling": asdict(model.sampling),
            "layout": layout.settings(),
        },
        "ids": {
            "special": {"PAD": PAD, "BOS": BOS, "BOV": BOV, "EOT": EOT},
            "text": [EOT + 1, model.task.vocabulary.ids["text"].stop],
            "video": [video.start, video.stop],
        },
        "rows": {
            "prompt": "BOS, ids of the text tokenizer + text[0], EOT, BOV; then the codes + video[0], in raster order",
            "positions": f"row i of BOS, text and EOT (i, i, i); BOV {(layout.max_text_tokens,) * 3}; of the code at "
            f"latent frame t, line h, column w {layout.max_text_tokens + 1} + (t, h, w)",
            "limits": "of each row prefix_start, prefix_end, low and high: it sees the rows prefix_start..prefix_end-1 "
            "and low..high. Of row i before BOV (0, 0, 0, i); of BOV in row b (0, b, b, b); of a code in row i "
            "(0, b, b, i), with other rules in layout see videogpt_kernels/visibility.py",
        },
        "step": {
            "file": STEP_NAME,
            "inputs": {
                "ids": "int64 (R, M)",
                "positions": "int64 (1 or R, M, 3)",
                "limits": "int64 (R, 4, M)",
                "starts": "int64 (R): rows read before; keys and values from there on are not looked at",
                "keys_L": f"float32 (R, {heads}, 1, {channels}, N) of layer L, 0 to {model.network.config.depth - 1}; "
                "N at least all starts, anything behind them",
                "values_L": f"float32 (R, {heads}, 1, N, {channels})",
            },
            "outputs": {
                "logits": f"float32 (R, M, {len(video)}): of the code that follows each row",
                "hidden": f"float32 (R, M, {model.network.config.width})",
                "new_keys_L": "those of these rows, to be put into keys_L from starts on",
                "new_values_L": "likewise",
            },
        },
        "files": {
            path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(folder.iterdir())
        },
        "versions": {name: version(name) for name in ("videogpt-lm", "torch", "onnx", "onnxruntime")},
        "verification": verification._asdict() | {"promise": PROMISE},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return verification


@torch.inference_mode()
def verify(model: SavedModel, run: Run) -> Verification:
    """Hold an exported step against the model: its likeliest codes, drawn one by one, and in windows of many.

    ValueError: one of the codes is another.
    """
    task, network = model.task, model.network
    examples = [Example(model.text_tokenizer.encode(text)) for text in CHECKED]
    prompt = task.prompt(examples, task.config.latent_frames)
    total = len(prompt.places)
    decoding = TorchEngine(network).start(prompt.given, total - 1)
    video, wanted, hidden = task.vocabulary.ids["video"], [], decoding.hidden_RMD[:, -1:]
    logits = [network.logits(hidden, video)]
    for number in range(total):
        wanted.append(logits[-1].argmax(dim=-1))
        if number < total - 1:
            positions_1M3 = prompt.positions_1M3[:, number : number + 1]
            hidden = decoding.step(video.start + wanted[-1], positions_1M3, [number] * len(examples))
            logits.append(network.logits(hidden, video))
    wanted_BM, logits_BMV = torch.cat(wanted, dim=1), torch.cat(logits, dim=1)
    worst = 0.0
    for widths in ([1] * (total - 1), [total - 1] * (total > 1), [3] * ((total - 1) // 3)):
        found_BMV = _logits(model, run, prompt, video.start + wanted_BM, widths)
        expected_BMV = logits_BMV[:, : found_BMV.shape[1]]
        differ = int((found_BMV.argmax(dim=-1) != expected_BMV.argmax(dim=-1)).sum())
        if differ:
            raise ValueError(f"{differ} of {wanted_BM.numel()} exported codes differ from the model's: do not use them")
        worst = max(worst, float((found_BMV - expected_BMV).abs().max()))
    return Verification(len(examples), wanted_BM.numel(), worst)


def _logits(model: SavedModel, run: Run, prompt: Prompt, ids_BM: Tensor, widths: list[int]) -> Tensor:
    """(B, M, V) of the prompt's last row and of as many rows behind it as the widths add up to."""
    config, given = model.network.config, prompt.given
    batch, given_rows = given.ids_BN.shape
    limits_B4N = limits_of(given, given_rows + sum(widths)).numpy()
    shape = (batch, config.kv_heads, 1, config.head_dim, limits_B4N.shape[2])
    keys = [np.zeros(shape, np.float32) for _ in range(config.depth)]
    values = [np.zeros_like(key.swapaxes(3, 4), order="C") for key in keys]
    ids_BN = torch.cat([given.ids_BN, ids_BM], dim=1).numpy()
    positions_1N3 = torch.cat([given.positions_BN3, prompt.positions_1M3], dim=1).numpy()
    logits, start = [], 0
    for width in [given_rows, *widths]:
        rows = slice(start, start + width)
        feeds = {"ids": ids_BN[:, rows], "positions": positions_1N3[:, rows], "limits": limits_B4N[:, :, rows]}
        feeds |= {"starts": np.full(batch, start)}
        feeds |= {f"keys_{layer}": key for layer, key in enumerate(keys)}
        feeds |= {f"values_{layer}": value for layer, value in enumerate(values)}
        found = run(feeds)
        for layer in range(config.depth):
            keys[layer][:, :, 0, :, rows] = found[f"new_keys_{layer}"]
            values[layer][:, :, 0, rows] = found[f"new_values_{layer}"]
        logits.append(found["logits"] if start else found["logits"][:, -1:])
        start += width
    return torch.from_numpy(np.concatenate(logits, axis=1))
