"""Progress of long jobs: a bar with rate and time left on a terminal, plain lines elsewhere.

    with Progress("sampling", total=320, unit="codes") as progress:
        for frame in frames:
            progress.advance(64, loss=0.31)

Knows nothing of what is being done. Everything goes to standard error, so that results can be piped. An
unknown total is None: then there is no time left to tell.
"""

import os
import sys
import time
from typing import TextIO

LINE_SECONDS = 10.0
"""Time between plain lines."""
BAR_SECONDS = 0.25
"""Time between changes of the values beside a bar."""


class Progress:
    """One job's progress. Closing it leaves a last line with what was done and how long it took."""

    def __init__(
        self,
        label: str,
        total: int | None = None,
        *,
        unit: str = "steps",
        start: int = 0,
        file: TextIO | None = None,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        """`start` units were done in an earlier run: they count as done, but not for the rate."""
        self.label, self.total, self.unit = label, total, unit
        self.done = self._start = start
        self._file = file or sys.stderr
        self._values: dict[str, float | str] = {}
        self._began = self._shown = time.monotonic()
        self._bar = None
        if _takes_a_bar(self._file):
            from tqdm import tqdm

            self._bar = tqdm(
                desc=label, total=total, initial=start, unit=f" {unit}", file=self._file, dynamic_ncols=True
            )
        self._period = line_seconds if self._bar is None else BAR_SECONDS

    @property
    def due(self) -> bool:
        """Whether the next update will be shown: worth knowing where values are costly to get."""
        is_last = self.total is not None and self.done + 1 >= self.total
        return is_last or time.monotonic() - self._shown >= self._period

    def advance(self, count: int = 1, **values: float | str) -> None:
        """Count further units as done; `values` are shown beside them from now on."""
        self.update(self.done + count, **values)

    def update(self, done: int, total: int | None = None, /, **values: float | str) -> None:
        """Set the units done so far, and the total where it was not known before."""
        due = self.due
        self.total = self.total if total is None else total
        self._values.update(values)
        if self._bar is not None:
            self._bar.total = self.total
            if due:
                self._bar.set_postfix_str(self._values_text(), refresh=False)
            self._bar.update(done - self.done)
        self.done = done
        now = time.monotonic()
        if now - self._shown >= self._period:
            self._shown = now
            if self._bar is None:
                self.say(self.line(now - self._began))

    def say(self, text: str, file: TextIO | None = None) -> None:
        """Print a line of its own without breaking the bar, to another file if one is given."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=file or self._file, flush=True)

    def line(self, seconds: float) -> str:
        """The plain line after so many seconds, `fit 128/320 steps, 40.1 a second, 0:05 left, loss 0.31`."""
        done_now = self.done - self._start
        parts = [f"{self.label} {self.done}{f'/{self.total}' if self.total is not None else ''} {self.unit}"]
        if done_now and seconds > 0:
            rate = done_now / seconds
            parts.append(f"{rate:.3g} a second" if rate >= 1 else f"{1 / rate:.3g} s each")
            if self.total is not None and self.done < self.total:
                parts.append(f"{clock((self.total - self.done) / rate)} left")
        return ", ".join(parts + ([self._values_text()] if self._values else []))

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif self.done > self._start:
            seconds = time.monotonic() - self._began
            self.say(f"{self.line(seconds)}, took {clock(seconds)}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _values_text(self) -> str:
        texts = {name: value if isinstance(value, str) else f"{value:.4g}" for name, value in self._values.items()}
        return ", ".join(f"{name} {text}" for name, text in texts.items())


def _takes_a_bar(file: TextIO) -> bool:
    """Whether it is a terminal that knows its size: without (in a container, say) tqdm shows nothing."""
    try:
        return file.isatty() and all(os.get_terminal_size(file.fileno()))
    except OSError:  # a terminal that is no file, such as a notebook's
        return True


def clock(seconds: float) -> str:
    """Seconds as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
