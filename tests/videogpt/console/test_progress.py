"""Progress: plain lines where there is no terminal, a bar where there is one."""

import io

from videogpt.console.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_tells_rate_time_left_and_values() -> None:
    progress = Progress("fit", 400, unit="steps", start=100, file=io.StringIO(), line_seconds=1e9)
    progress.update(200, loss=0.123456, phase="warm-up")
    assert progress.line(50) == "fit 200/400 steps, 2 a second, 1:40 left, loss 0.1235, phase warm-up"
    assert progress.line(2000).startswith("fit 200/400 steps, 20 s each, 1:06:40 left")


def test_an_unknown_total_has_no_time_left_until_it_is_known() -> None:
    progress = Progress("sampling", unit="codes", file=io.StringIO(), line_seconds=1e9)
    progress.advance(5)
    assert progress.line(10) == "sampling 5 codes, 2 s each"
    progress.update(6, 12)
    assert progress.line(6) == "sampling 6/12 codes, 1 a second, 0:06 left"


def test_elsewhere_than_on_a_terminal_lines_come_at_intervals_and_at_the_end() -> None:
    seldom, often = io.StringIO(), io.StringIO()
    for file, line_seconds in ((seldom, 1e9), (often, 0.0)):
        with Progress("job", 3, unit="clips", file=file, line_seconds=line_seconds) as progress:
            for done in range(3):
                assert progress.due == (done == 2 or file is often)  # the last one is always shown
                progress.advance()
    assert seldom.getvalue().startswith("job 3/3 clips") and seldom.getvalue().endswith(", took 0:00\n")
    shown = [line.split(",")[0] for line in often.getvalue().splitlines()]
    assert shown == [f"job {done}/3 clips" for done in (1, 2, 3, 3)]
    idle = io.StringIO()
    Progress("job", 3, file=idle).close()  # did nothing
    assert idle.getvalue() == ""


def test_on_a_terminal_there_is_a_bar_and_lines_do_not_break_it() -> None:
    terminal, results = Terminal(), io.StringIO()
    with Progress("job", 2, unit="clips", file=terminal) as progress:
        progress.advance(loss=0.5)
        progress.say("a result", file=results)
        progress.advance()
    assert results.getvalue() == "a result\n"
    assert "job: 100%" in terminal.getvalue() and "loss 0.5" in terminal.getvalue()


def test_clock() -> None:
    assert [clock(s) for s in (0, 59.6, 3599, 3600, 90061)] == ["0:00", "1:00", "59:59", "1:00:00", "25:01:01"]
