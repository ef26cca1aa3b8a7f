"""Tasks are found by the names of their files."""

import pytest

from videogpt.layouts.task import find_task, known_tasks
from videogpt.layouts.text_to_video import TextToVideo


def test_the_file_is_the_name() -> None:
    assert "text_to_video" in known_tasks()
    assert find_task("text_to_video") is TextToVideo


@pytest.mark.parametrize("name", ["", "task", "raster", "text_to_smell", "../runs/cli"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no task .*: choose .*text_to_video"):
        find_task(name)
