"""Files of prompts: both kinds, and the line that is wrong."""

from pathlib import Path

import pytest

from videogpt.pipeline.prompt_files import read_prompts
from videogpt.pipeline.request import Request


def test_plain_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes('\ufeffa red circle\r\n\n  \u4e00\u53ea\u732b  \n{"prompt": "text"}'.encode())
    texts = ["a red circle", "\u4e00\u53ea\u732b", '{"prompt": "text"}']
    assert read_prompts(path) == [Request(text=text) for text in texts]


def test_json_lines_have_prompts_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a star", "seed": 3}\n\n{"prompt": "", "id": "x"}\n')
    with pytest.warns(UserWarning, match=r"'id' are no fields of a request .* those are prompt, image, video, mask"):
        assert read_prompts(path) == [Request(text="a star", seed=3), Request(text="")]
    path.write_text('{"prompt": "a star", "seed": 3}\n\n{"prompt": ""}\n')
    found = read_prompts(path, Request(seed=8, num_frames=5))
    assert found == [Request(text="a star", seed=3, num_frames=5), Request(text="", seed=8, num_frames=5)]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds no prompt"),
        (b"\n \n", "holds no prompt"),
        (b'{"prompt": "caf\xe9"}', "not UTF-8 .byte 15."),
        (b'{"prompt": "a"}\nb', "line 2: not JSON"),
        (b'{"prompt": "a"}\n\n["b"]', "line 3: no prompt string"),
        (b'{"text": "a"}', "line 1: no prompt string"),
        (b'{"prompt": "a", "seed": -1}', "line 1: seed is -1"),
        (b'{"prompt": "a", "seed": true}', "line 1: seed is True"),
        (b'{"prompt": "a", "seed": 1.5}', "line 1: seed is 1.5"),
        (b'{"prompt": "a", "seed": 4294967296}', "line 1: seed is 4294967296; .* below 4294967296"),
        (b"[" * 100_000, "line 1: not JSON .it is nested too deeply"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=f"p.jsonl.*{message}"):
        read_prompts(tmp_path / "p.jsonl")


@pytest.mark.parametrize("name, said", [("nowhere.txt", "no such file"), ("deep", "is a folder")])
def test_what_is_no_file_is_refused_with_the_remedy(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "deep").mkdir()
    with pytest.raises(ValueError, match=f"{name}: .*{said}; give a text file with one prompt a line"):
        read_prompts(tmp_path / name)
