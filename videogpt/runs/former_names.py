"""Names of classes in configurations that version 0.1 wrote, and the names that they have now.

    args = with_current_names(["--config", "runs/old/config.yaml", "--data=videogpt.token_data.TokenShards"])
    settings = yaml.safe_load(rename_classes(text))

Version 0.1 named a class by the file that it lay in. Configurations now name public classes, `videogpt.TokenData`,
and so does the `config.yaml` that a run writes.
"""

import re
from collections.abc import Sequence

from videogpt.runs.config_errors import config_files

_CURRENT = {
    "videogpt.training.VideoGPTTraining": "videogpt.VideoGPTTraining",
    "videogpt.token_data.TokenShards": "videogpt.TokenData",
    "videogpt.runs.checkpoint.RunCheckpoint": "videogpt.RunCheckpoint",
    "videogpt_tokenizer.training.TokenizerTraining": "videogpt_tokenizer.TokenizerTraining",
    "videogpt_tokenizer.clip_data.ClipDataModule": "videogpt_tokenizer.ClipDataModule",
    "videogpt_tokenizer.clip_mixture.ClipMixture": "videogpt_tokenizer.ClipMixture",
}
_FORMER = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, _CURRENT))})(?![\w.])")


def rename_classes(text: str) -> str:
    """The text with the current name in place of every former one."""
    return _FORMER.sub(lambda found: _CURRENT[found[0]], text)


def with_current_names(args: Sequence[str]) -> list[str]:
    """Arguments of a run in current names; a file given with `--config` is replaced by its text where it must be."""
    renamed = [rename_classes(arg) for arg in args]
    for index, prefix, path in config_files(args):
        if _FORMER.search(text := path.read_text(encoding="utf-8")):
            renamed[index] = prefix + rename_classes(text)
    return renamed
