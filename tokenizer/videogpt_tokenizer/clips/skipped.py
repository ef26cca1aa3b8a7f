"""Clips that cannot be used: left out, counted and named; too many of them are refused.

bad = BadClips(total=len(paths), max_share=0.05)
for done, path in enumerate(paths, start=1):
    try:
        clip = Clip.read(path)
    except (ValueError, OSError) as error:
        bad.add(str(path), error)
        bad.check(done)                            # or once, at the end
"""

from collections.abc import Collection
from typing import NamedTuple

MAX_BAD_SHARE = 0.05
"""Share of the clips that may be bad where nothing else is said."""


class BadClip(NamedTuple):
    """One that is left out, and why."""

    name: str
    reason: str


class BadClips:
    """The account of one job."""

    def __init__(self, total: int, max_share: float = MAX_BAD_SHARE) -> None:
        """Begin with none.

        Args:
            total: Clips of the job, good or bad.
            max_share: Share of them that may be bad, 0 to 1.

        Raises:
            ValueError: `max_share` is out of range.
        """
        if not 0 <= max_share <= 1:
            raise ValueError(f"max_bad_share={max_share:g} must lie between 0 and 1, for example {MAX_BAD_SHARE}")
        self.total = total
        self.max_share = max_share
        self.clips: list[BadClip] = []
        """Those left out so far."""

    def add(self, name: str, error: Exception) -> None:
        """Leave a clip out."""
        self.clips.append(BadClip(name, str(error)))

    def check(self, done: int, required: Collection[str] = ()) -> None:
        """Refuse to go on, or to call it a success.

        Args:
            done: Clips looked at so far.
            required: Names of clips that may not be bad at all.

        Raises:
            ValueError: one of `required` is bad, all are, or more than the allowed share.
        """
        named = [clip for clip in self.clips if clip.name in required]
        if named:
            raise ValueError(_some(named))
        if len(self.clips) == self.total:
            raise ValueError(f"none of {self.total} clips can be used: {self.some()}")
        if len(self.clips) > self.max_share * self.total:
            of = f"{self.total}" if done == self.total else f"the first {done}"
            raise ValueError(
                f"{len(self.clips)} of {of} clips cannot be used, more than max_bad_share={self.max_share:g} of all "
                f"{self.total}: {self.some()}. Mend or remove them, or raise max_bad_share"
            )

    def some(self) -> str:
        """The first few reasons in words."""
        return _some(self.clips)


def _some(clips: list[BadClip], limit: int = 10) -> str:
    more = f"; and {len(clips) - limit} more" if len(clips) > limit else ""
    return "; ".join(clip.reason for clip in clips[:limit]) + more
