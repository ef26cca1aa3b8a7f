"""Classes under the names that configurations of version 0.1 have for them: where files lay, which they no longer do.

    args = with_current_names(["--config", "runs/old/config.yaml", "--data=videogpt.token_data.TokenShards"])
    settings = yaml.safe_load(current(text))

New configurations name public classes, `videogpt.TokenData`, and so does the `config.yaml` that a run writes.
"""

import re
from collections.abc import Sequence

from videogpt.runs.config_errors import config_files

FORMER = {
    "videogpt.training.VideoGPTTraining": "videogpt.VideoGPTTraining",
    "videogpt.token_data.TokenShards": "videogpt.TokenData",
    "videogpt.runs.checkpoint.RunCheckpoint": "videogpt.RunCheckpoint",
    "videogpt_tokenizer.training.TokenizerTraining": "videogpt_tokenizer.TokenizerTraining",
    "videogpt_tokenizer.clip_data.ClipDataModule": "videogpt_tokenizer.ClipDataModule",
    "videogpt_tokenizer.clip_mixture.ClipMixture": "videogpt_tokenizer.ClipMixture",
}
_ANY = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, FORMER))})(?![\w.])")


def current(text: str) -> str:
    """The text with present names in place of former ones."""
    return _ANY.sub(lambda found: FORMER[found[0]], text)


def with_current_names(args: Sequence[str]) -> list[str]:
    """Arguments of a run, and the files that they give with `--config`: one with a former name goes in as its text."""
    renamed = [current(arg) for arg in args]
    for index, prefix, path in config_files(args):
        if _ANY.search(text := path.read_text(encoding="utf-8")):
            renamed[index] = prefix + current(text)
    return renamed
