"""Video tokenizers on the Hugging Face Hub: fetched by `owner/name`, pushed with a model card.

    tokenizer = VideoTokenizer.from_pretrained("owner/name", revision="v1")
    tokenizer.push_to_hub("owner/name", license="mit")

Needs `pip install 'videogpt-lm[hub]'`, imported here and only when used: that is why these are two functions and not
huggingface_hub's mixin, which would have to be imported with the tokenizer and does not load strictly. Only
`config.json` and `model.safetensors` are fetched. A name is looked for on the Hub only where neither it nor a folder
`owner` is here, so that no mistyped path leaves the machine.
"""

import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from videogpt_tokenizer.files.weights_folder import CONFIG_NAME, WEIGHTS_NAME
from videogpt_tokenizer.model_card import CARD_NAME, write_card

if TYPE_CHECKING:
    from videogpt_tokenizer.video_tokenizer import VideoTokenizer

FILES = [CONFIG_NAME, WEIGHTS_NAME]
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_hub_name(name: str | Path, revision: str | None, shipped: Collection[str]) -> bool:
    """Whether what has this name can only be on the Hub: `owner/name`, with nothing of the sort here or shipped.

    Raises:
        ValueError: a revision is given with what is here.
    """
    path = Path(name)
    remote = isinstance(name, str) and bool(NAME.fullmatch(name)) and not path.exists() and not path.parent.exists()
    if revision is not None and not remote:
        where = "shipped" if str(name) in shipped else "a path"
        raise ValueError(f"revision {revision!r} is for names on the Hub, owner/name, and {str(name)!r} is {where}")
    return remote


def downloaded(name: str, revision: str | None = None) -> Path:
    """The folder of a tokenizer of the Hub, fetched unless it is in huggingface_hub's cache.

    Raises:
        ValueError: huggingface_hub is not installed, or the name is none.
        OSError: there is no such tokenizer, or the Hub cannot be reached.
    """
    hub = _hub(f"{name!r} is neither a folder nor a shipped tokenizer; to take it from the Hub")
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=FILES))
    except hub.errors.HFValidationError as error:
        raise ValueError(f"{name!r} is no name on the Hub: {_first_line(error)}") from error
    except OSError as error:  # whatever the Hub or the network says
        at = f" at {revision}" if revision else ""
        raise OSError(
            f"tokenizer {name!r}{at} is no folder here, and the Hub does not give it: {_first_line(error)}"
        ) from error


def push(
    tokenizer: "VideoTokenizer",
    repo_id: str,
    *,
    license: str,  # noqa: A002 - the Hub's name for it
    private: bool,
    revision: str | None,
    token: str | None,
) -> str:
    """Upload a tokenizer; returns the address of the commit.

    Args:
        tokenizer: What to upload.
        repo_id: `owner/name`; made if there is no such repository.
        license: Of the weights, in the Hub's words, for example `mit`; it goes into the model card.
        private: Whether a repository that is made here is private.
        revision: Branch to put it on, which must exist; the main one if None.
        token: Who does it; None takes what `hf auth login` has kept.

    Raises:
        ValueError: huggingface_hub is not installed, or the name is none.
        OSError: the Hub refuses it, or cannot be reached.
    """
    hub = _hub("to push to the Hub")
    api = hub.HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_card(tokenizer, folder, repo_id, license)
        tokenizer.save_pretrained(folder)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if api.file_exists(repo_id, CARD_NAME, revision=revision):
                (folder / CARD_NAME).unlink()
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, revision=revision, commit_message="Upload a video tokenizer"
            )
        except hub.errors.HFValidationError as error:
            raise ValueError(f"{repo_id!r} is no name on the Hub: {_first_line(error)}") from error
        except OSError as error:
            raise OSError(f"the Hub does not take {repo_id!r}: {_first_line(error)}") from error
    return str(commit.commit_url)


def _hub(why: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"{why}, pip install 'videogpt-lm[hub]' (huggingface_hub is not installed)") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
