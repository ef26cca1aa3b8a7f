"""A name is looked for before a path, and what is neither is told together with the names that there are."""

from pathlib import Path

import pytest

from videogpt_tokenizer.files.names import find_folder, shipped_in


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two that are shipped, and a folder beside them that is nothing."""
    for name in ("small", "large"):
        (tmp_path / "package" / name).mkdir(parents=True)
        (tmp_path / "package" / name / "config.json").touch()
    (tmp_path / "package" / "other").mkdir()
    (tmp_path / "here" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return shipped_in(tmp_path / "package")


def test_a_name_comes_before_a_path(shipped, tmp_path):
    assert shipped == {name: tmp_path / "package" / name for name in ("large", "small")}
    assert find_folder("small", "thing", shipped) == tmp_path / "package" / "small"
    assert find_folder("./small", "thing", shipped).resolve() == tmp_path / "here" / "small"
    assert find_folder(tmp_path, "thing", shipped) == tmp_path


def test_what_is_neither_is_refused(shipped, tmp_path):
    for name in ("smaller", "./large", "other"):
        with pytest.raises(ValueError, match=rf"^thing '{name}' is neither a folder nor a shipped thing \(large, sma"):
            find_folder(name, "thing", shipped)
    with pytest.raises(ValueError, match="none is installed"):
        find_folder("large", "thing", shipped_in(tmp_path / "nowhere"))
