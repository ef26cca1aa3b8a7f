"""Commands say what is wrong before they work, not after."""

import pytest
import torch

from videogpt.cli import main
from videogpt_tokenizer import Clip


def test_evaluate_refuses_an_existing_report_before_measuring(tmp_path, capsys):
    (tmp_path / "report.json").write_text("precious")
    assert main(["evaluate", "--model", "no such model", "--output", str(tmp_path / "report.json")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == "precious"


@pytest.mark.parametrize("caption", ["", "a red circle"])
def test_train_text_needs_a_caption(tmp_path, capsys, caption):
    Clip(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), 1.0).write(tmp_path / "one.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,caption\none.png,{caption}\n")
    code = main(["train-text", str(tmp_path), "--output", str(tmp_path / "text.model")])
    assert code == (0 if caption else 2)
    assert caption or "no clip" in capsys.readouterr().err
    assert (tmp_path / "text.model").exists() == bool(caption)
