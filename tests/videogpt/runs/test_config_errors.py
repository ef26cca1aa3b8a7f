"""Mistakes in the arguments of a run are one line that says where and what."""

from pathlib import Path

import pytest

from videogpt.runs.config_errors import check_config_files, one_line


@pytest.mark.parametrize(
    "content, about",
    [
        (b"", "is empty"),
        (b"- a\n- b\n", "holds a list"),
        (b"just words", "holds a str"),
        (b"trainer: {max_steps: 3\nmodel: [\n", "line 2"),
        (b"\xff\xfe\x00", "is no text"),
    ],
)
def test_a_config_file_without_settings_is_named(content: bytes, about: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    for args in ([f"--config={path}"], ["--config", str(path)], ["-c", str(path)]):
        with pytest.raises(ValueError, match=f"mine.yaml.*{about}") as error:
            check_config_files([*args, "--trainer.max_steps=3"])
        assert "\n" not in str(error.value)


def test_good_config_files_pass_and_missing_ones_do_not(tmp_path: Path) -> None:
    good = ["--config", str(tmp_path / "good.yaml")]
    Path(good[1]).write_text("trainer: {max_steps: 3}")
    check_config_files([*good, "--config"])
    with pytest.raises(ValueError, match="gone.yaml"):
        check_config_files([*good, f"--config={tmp_path / 'gone.yaml'}"])


NO_VALUE = """Parser key "data":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.datamodule.LightningDataModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'videogpt_tokenizer.data.batches.ClipDataModule':
        Parser key "size":
          Does not validate against any of the Union subtypes
          Subtypes: [<class 'int'>, tuple[int, int]]
          Errors:
            - Expected a <class 'int'>
            - Expected a <class 'tuple'>
          Given value type: <class 'str'>
          Given value: big
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='size', val='big')"""
NO_CHOICE = "Parser key \"resume\":\n  Expected a typing.Literal['auto', 'must', 'never']. Got value: maybe"
REFUSED_BY_A_CLASS = """Does not validate against any of the Union subtypes
Subtypes: [<class 'lightning.pytorch.core.module.LightningModule'>, <class 'NoneType'>]
Errors:
  - width 33 is no multiple of heads 2: change either
  - Expected a <class 'NoneType'>
Given value type: <class 'jsonargparse._namespace.Namespace'>
Given value: Namespace(width=33)"""
WRONG_CLASS = """Parser key "model":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'mine.Model':
        Option 'lrr' is not accepted
    - Expected a <class 'NoneType'>"""


@pytest.mark.parametrize(
    "message, said",
    [
        (NO_VALUE, "data.size: big does not fit, it must be a whole number or a list"),
        (NO_CHOICE, "resume: maybe does not fit, it must be one of auto, must, never"),
        (REFUSED_BY_A_CLASS, "width 33 is no multiple of heads 2: change either"),
        (WRONG_CLASS, "model: Problem with given class_path 'mine.Model': Option 'lrr' is not accepted"),
    ],
)
def test_an_error_of_jsonargparse_is_one_line_with_the_full_key_and_what_would_fit(message: str, said: str) -> None:
    assert one_line(message) == said
