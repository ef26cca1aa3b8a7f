"""JSON of strangers: every complaint is a ValueError, and a later version is told from an earlier one."""

from pathlib import Path

import pytest

from videogpt_tokenizer.files.json_files import check_version, parse_json


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("version", [0, 3, "1", 1.0, True, None])
def test_other_versions_are_refused(version):
    with pytest.raises(ValueError, match=r"^a\.json: version is .*, and 2 is the newest known here: update"):
        check_version({"version": version}, 2, Path("a.json"))


@pytest.mark.parametrize("content", [{}, {"version": 1}, {"version": 2}])
def test_known_versions_are_not(content):
    check_version(content, 2, Path("a.json"))
