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
@pytest.mark.parametrize("flag", [["--config"], ["-c"], ["--config="]])
def test_a_config_file_without_settings_is_named(content: bytes, about: str, flag: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    args = [f"--config={path}"] if flag == ["--config="] else [*flag, str(path)]
    with pytest.raises(ValueError, match=f"mine.yaml.*{about}") as error:
        check_config_files([*args, "--trainer.max_steps=3"])
    assert "\n" not in str(error.value)


def test_good_config_files_pass_and_missing_ones_do_not(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("trainer: {max_steps: 3}")
    check_config_files(["--config", str(tmp_path / "good.yaml"), "--config"])
    with pytest.raises(ValueError, match="gone.yaml"):
        check_config_files(["--config", str(tmp_path / "good.yaml"), f"--config={tmp_path / 'gone.yaml'}"])


def test_a_value_that_does_not_fit_is_said_with_its_full_key_and_what_would() -> None:
    message = """Parser key "data":
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
    assert one_line(message) == "data.size: big does not fit, it must be a whole number or a list"


def test_a_choice_is_said_with_its_members() -> None:
    message = "Parser key \"resume\":\n  Expected a typing.Literal['auto', 'must', 'never']. Got value: maybe"
    assert one_line(message) == "resume: maybe does not fit, it must be one of auto, must, never"


def test_what_a_class_refuses_is_said_in_its_own_words() -> None:
    message = """Does not validate against any of the Union subtypes
Subtypes: [<class 'lightning.pytorch.core.module.LightningModule'>, <class 'NoneType'>]
Errors:
  - width 33 is no multiple of heads 2: change either
  - Expected a <class 'NoneType'>
Given value type: <class 'jsonargparse._namespace.Namespace'>
Given value: Namespace(width=33)"""
    assert one_line(message) == "width 33 is no multiple of heads 2: change either"


def test_a_class_stays_where_it_is_the_mistake() -> None:
    message = """Parser key "model":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'mine.Model':
        Option 'lrr' is not accepted
    - Expected a <class 'NoneType'>"""
    assert one_line(message) == "model: Problem with given class_path 'mine.Model': Option 'lrr' is not accepted"
