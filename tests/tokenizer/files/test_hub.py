"""The Hub, without a network: what is fetched from a cache, and one clear line for everything else."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from videogpt_tokenizer.files.hub import CARD_NAME, is_hub_name, push
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(make_tokenizer, tmp_path: Path) -> Path:
    """huggingface_hub's cache, with a tokenizer that was fetched once as owner/name."""
    repository = tmp_path / "hub" / "models--owner--name"
    make_tokenizer().save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (tmp_path / "hub" / "models--owner--partial" / "refs").mkdir(parents=True)
    return tmp_path


PROGRAM = f"""
from pathlib import Path
from videogpt_tokenizer import VideoTokenizer

def said(call, kind):
    try:
        call()
    except kind as error:
        assert "\\n" not in str(error), error
        return str(error)
    raise SystemExit("nothing was raised")

load = VideoTokenizer.from_pretrained
tokenizer = load("owner/name")
again, pinned = load("owner/name", revision="main"), load("owner/name", revision="{COMMIT}")
here = load("hub/models--owner--name/snapshots/{COMMIT}")
assert tokenizer.fingerprint() == again.fingerprint() == pinned.fingerprint() == here.fingerprint()

assert "the Hub does not give it" in said(lambda: load("owner/other"), OSError)
assert "'owner/name' at v2 is no folder here" in said(lambda: load("owner/name", revision="v2"), OSError)
assert "is no name on the Hub" in said(lambda: load("owner/na--me"), ValueError)
assert "the Hub does not take 'owner/new'" in said(lambda: tokenizer.push_to_hub("owner/new"), OSError)
assert "is no name on the Hub" in said(lambda: tokenizer.push_to_hub("owner/na--me"), ValueError)

weights = Path("hub/models--owner--name/snapshots/{COMMIT}/model.safetensors")
weights.write_bytes(weights.read_bytes()[:-1])
assert "model.safetensors is truncated or altered" in said(lambda: load("owner/name"), ValueError)
"""


@pytest.mark.slow
def test_what_was_fetched_is_loaded_strictly_and_all_else_is_one_line(cache):
    """In a fresh interpreter, whose huggingface_hub has this cache and no network."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=cache, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_clear_line(make_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"'owner/name' is neither a folder .* pip install 'videogpt-lm\[hub\]'"):
        VideoTokenizer.from_pretrained("owner/name")
    with pytest.raises(ValueError, match=r"to push to the Hub, pip install 'videogpt-lm\[hub\]'"):
        make_tokenizer().push_to_hub("owner/name")


def test_paths_are_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    names = ["owner/name", "runs/tyny", "./owner/name", "owner", "natural", "a/b/c", "../x", "/owner/name", "owner/"]
    assert [name for name in names if is_hub_name(name, None, [])] == ["owner/name"]
    assert not is_hub_name(Path("owner/name"), None, [])
    with pytest.raises(ValueError, match="'runs/tyny' is neither a folder nor a shipped tokenizer"):
        VideoTokenizer.from_pretrained("runs/tyny")
    for name, what in (("natural", "shipped"), ("runs/tyny", "a path")):
        with pytest.raises(ValueError, match=f"revision 'v1' is for names on the Hub, .* and '{name}' is {what}"):
            VideoTokenizer.from_pretrained(name, revision="v1")


def test_a_push_uploads_what_was_saved_and_leaves_a_card_that_is_there(monkeypatch):
    """With a Hub that keeps folders in memory: the second push finds the card of the first, edited by hand."""
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    api, uploads = create_autospec(hub.HfApi, instance=True), []
    monkeypatch.setattr(hub, "HfApi", lambda token: {"secret": api}[token])
    api.file_exists.side_effect = lambda _, name, **__: any(name in files for files, *_ in uploads)

    def upload(repo_id: str, folder_path: Path, revision: str, commit_message: str) -> Any:
        files = {path.name: path.read_text() for path in folder_path.iterdir()}
        uploads.append((files, repo_id, revision, commit_message))
        return SimpleNamespace(commit_url="https://hub/commit")

    api.upload_folder.side_effect = upload

    def save(folder: Path) -> None:
        assert (folder / CARD_NAME).read_text() == "# Card"
        (folder / "weights").write_text("1, 2")

    for _ in range(2):
        address = push("owner/name", save, card="# Card", kind="model", private=True, revision="v1", token="secret")
        assert address == "https://hub/commit"
        api.create_repo.assert_called_with("owner/name", private=True, exist_ok=True)
    about = ("owner/name", "v1", "Upload a model")
    assert uploads == [({CARD_NAME: "# Card", "weights": "1, 2"}, *about), ({"weights": "1, 2"}, *about)]
