"""Folders of weights on the Hugging Face Hub: fetched by `owner/name`, pushed with a model card.

    if is_hub_name("owner/name", revision="v1", shipped=()):
        folder = downloaded("owner/name", "v1", kind="tokenizer")
    address = push("owner/name", tokenizer.save_pretrained, card="# A tokenizer", kind="tokenizer")

Needs `pip install 'videogpt-lm[hub]'`, imported here and only when used: that is why these are functions and not
huggingface_hub's mixin, which would have to be imported with the tokenizer and does not load strictly. Only
`config.json` and `model.safetensors` are fetched. A name is looked for on the Hub only where neither it nor a folder
`owner` is here, so that no mistyped path leaves the machine.
"""

import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from videogpt_tokenizer.files.weights_folder import CONFIG_NAME, WEIGHTS_NAME

CARD_NAME = "README.md"
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_hub_name(name: str | Path, revision: str | None, shipped: Collection[str]) -> bool:
    """Whether what has this name can only be on the Hub: `owner/name`, with nothing of the sort here or shipped.

    ValueError where a revision is given with what is here.
    """
    path = Path(name)
    remote = isinstance(name, str) and bool(_NAME.fullmatch(name)) and not path.exists() and not path.parent.exists()
    if revision is not None and not remote:
        where = "shipped" if str(name) in shipped else "a path"
        raise ValueError(f"revision {revision!r} is for names on the Hub, owner/name, and {str(name)!r} is {where}")
    return remote


def downloaded(name: str, revision: str | None, kind: str) -> Path:
    """A folder `owner/name` of the Hub, fetched unless it is in huggingface_hub's cache.

    `revision` is a branch, tag or commit, the main branch if None; `kind` says in messages what it is to be.

    Raises:
        ValueError: huggingface_hub is not installed, or the name is none.
        OSError: there is nothing of that name, or the Hub cannot be reached.
    """
    hub = _hub(f"{name!r} is neither a folder nor a shipped {kind}; to take it from the Hub")
    at = f" at {revision}" if revision else ""
    with _in_one_line(hub, name, f"{kind} {name!r}{at} is no folder here, and the Hub does not give it"):
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[CONFIG_NAME, WEIGHTS_NAME]))


def push(
    repo_id: str,
    save: Callable[[Path], object],
    *,
    card: str,
    kind: str,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Upload a folder; returns the address of the commit.

    Args:
        repo_id: `owner/name`; made if there is no such repository, private or not.
        save: Fills the folder, which holds the card already.
        card: The model card; one that is in the repository already stays.
        kind: What is uploaded, for the commit's message.
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
        (folder / CARD_NAME).write_text(card, encoding="utf-8")
        save(folder)
        with _in_one_line(hub, repo_id, f"the Hub does not take {repo_id!r}"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            if api.file_exists(repo_id, CARD_NAME, revision=revision):
                (folder / CARD_NAME).unlink()
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, revision=revision, commit_message=f"Upload a {kind}"
            )
    return str(commit.commit_url)


def _hub(why: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ValueError(f"{why}, pip install 'videogpt-lm[hub]' (huggingface_hub is not installed)") from error
    return huggingface_hub


@contextmanager
def _in_one_line(hub: ModuleType, name: str, refusal: str) -> Iterator[None]:
    """Whatever huggingface_hub, the Hub or the network says, after what has failed."""
    try:
        yield
    except (hub.errors.HFValidationError, OSError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if isinstance(error, hub.errors.HFValidationError):
            raise ValueError(f"{name!r} is no name on the Hub: {reason}") from error
        raise OSError(f"{refusal}: {reason}") from error
