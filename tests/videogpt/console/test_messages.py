"""Messages: one line each, from one process of several."""

import warnings

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from videogpt.console.messages import say, warnings_as_lines, without_line_breaks


def test_a_warning_is_one_line_without_the_place_in_our_source(capsys):
    shown = warnings.showwarning
    with warnings_as_lines():
        warnings.warn("first\n  second", stacklevel=1)
    assert capsys.readouterr().err == "videogpt: warning: first second\n"
    assert warnings.showwarning is shown and without_line_breaks(" a\t b\n") == "a b"


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_speaks_for_all(rank, monkeypatch, capsys):
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    say("once")
    say("from each", every_process=True)
    assert capsys.readouterr().err == "videogpt: once\n" * (rank == 0) + "videogpt: from each\n"


def test_nothing_heavy_is_needed(run_python):
    program = "from videogpt.console.messages import say; sys.stderr = sys.stdout; say('hello')"
    assert run_python(program, without=["lightning"]) == "videogpt: hello\n"
