"""Clips that cannot be used are skipped, counted and named; too many of them are refused.

skipped = SkippedClips(total=len(paths), max_share=0.05)
for done, path in enumerate(paths, start=1):
    try:
        clip = Clip.read(path)
    except UnreadableClipError as error:
        skipped.add(str(path), error)
        skipped.check(done)                        # or once, at the end
"""

from collections.abc import Collection

from videogpt_tokenizer.files.wording import some_of

MAX_BAD_SHARE = 0.05
"""Share of the clips that may be skipped where nothing else is said."""
NAMED_CLIPS = 10
"""How many skipped clips a message names; the others are counted."""


def check_max_bad_share(share: float) -> None:
    """ValueError unless it is a share."""
    if not 0 <= share <= 1:
        raise ValueError(f"max_bad_share={share:g} must lie between 0 and 1, for example {MAX_BAD_SHARE}")


class UnreadableClipError(ValueError):
    """A clip cannot be used; the message names its file."""


class SkippedClips:
    """The account of a job of `total` clips, good or bad; its length is the number of those skipped so far."""

    def __init__(self, total: int, max_share: float = MAX_BAD_SHARE) -> None:
        check_max_bad_share(max_share)
        self.total, self.max_share = total, max_share
        self.names: list[str] = []
        self.reasons: list[str] = []
        """Why, of each name."""

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, error: Exception) -> None:
        self.names.append(name)
        self.reasons.append(str(error))

    def check(self, done: int, required: Collection[str] = ()) -> None:
        """Refuse to go on after `done` clips, or to call it a success.

        ValueError where one of the names `required` is skipped, all are, or more than the allowed share.
        """
        missed = [reason for name, reason in zip(self.names, self.reasons, strict=True) if name in required]
        if missed:
            raise ValueError(some_of(missed, NAMED_CLIPS, "; "))
        if len(self) == self.total:
            raise ValueError(f"none of {self.total} clips can be used: {self.first_reasons()}")
        if len(self) > self.max_share * self.total:
            of = f"{self.total}" if done == self.total else f"the first {done}"
            raise ValueError(
                f"{len(self)} of {of} clips cannot be used, more than max_bad_share={self.max_share:g} of all "
                f"{self.total}: {self.first_reasons()}. Mend or remove them, or raise max_bad_share"
            )

    def first_reasons(self) -> str:
        """The first reasons in one line, and how many more there are."""
        return some_of(self.reasons, NAMED_CLIPS, "; ")
