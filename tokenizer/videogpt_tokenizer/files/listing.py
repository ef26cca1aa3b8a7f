"""The files of a folder, to any depth, and the account of those that are left aside.

    listing = Listing(Path("my_clips"))
    listing.files                                   # places inside the folder, in order
    listing.leave("other suffix", "notes.doc")
    listing.told()                                  # 1 of 9 files is left aside: 1 other suffix (notes.doc)

Links are followed, each folder once: one that is met under a second name, as in a loop, is left aside under that name.
Hidden files and folders are passed over without a word.
"""

import os
from collections import deque
from pathlib import Path

from videogpt_tokenizer.files.wording import some_of


def in_order(place: str) -> list[str]:
    """The key by which places are sorted: folder by folder."""
    return place.split("/")


def stem_of(place: str) -> str:
    """The place without its suffix."""
    dot = place.rfind(".", place.rfind("/") + 2)
    return place if dot < 0 else place[:dot]


def suffix_of(place: str) -> str:
    """In small letters."""
    return place[len(stem_of(place)) :].lower()


class Listing:
    """Opens no file. OSError where the folder itself cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[str] = []
        self.unused: dict[str, list[str]] = {}
        """Places by the reason why they are left aside."""
        self.count = 0
        """Of all that was met, used or not."""
        self._real_folders: dict[str, str] = {}  # where each folder that was read lies without links, by its place
        self._links: set[str] = set()
        self._walk()
        self.files.sort(key=in_order)

    def leave(self, reason: str, *places: str) -> None:
        self.unused.setdefault(reason, []).extend(places)

    def without_second_names(self, places: list[str]) -> list[str]:
        """The places but for links to others of them, and second links to the same file, which are left aside."""
        if self._links.isdisjoint(places):
            return places
        known = {self._real(place) for place in places if place not in self._links}
        first = []
        for place in places:
            real = self._real(place)
            if place in self._links and real in known:
                self.leave("link to a file that is there already", place)
            else:
                first.append(place)
                known.add(real)
        return first

    def told(self, limit: int = 3) -> str:
        """In one line; empty where nothing is left aside."""
        count = sum(map(len, self.unused.values()))
        reasons = (
            f"{len(places)} {reason} ({some_of(sorted(places, key=in_order), limit)})"
            for reason, places in sorted(self.unused.items())
        )
        of = f"{count} of {self.count} files {'is' if count == 1 else 'are'} left aside"
        return f"{of}: {', '.join(reasons)}" if count else ""

    def _walk(self) -> None:
        """Folders that truly lie here come first, so that they keep their own names; then what links lead to."""
        waiting, links, seen = deque([""]), deque[str](), set[tuple[int, int]]()
        while waiting or links:
            place = (waiting or links).popleft()
            path = self.folder / place
            status = path.stat()
            identity = status.st_dev, status.st_ino
            if identity in seen:
                self._leave_found("link to a folder that is read already", place)
                continue
            seen.add(identity)
            try:
                entries = sorted(os.scandir(path), key=lambda entry: entry.name)
            except OSError:
                if not place:
                    raise
                self._leave_found("folder that cannot be opened", place)
                continue
            self._real_folders[place] = os.path.realpath(path)
            for entry in entries:
                inner = f"{place}/{entry.name}" if place else entry.name
                if entry.name.startswith("."):
                    continue
                is_folder, is_file = _kind(entry)
                if is_folder:
                    (links if entry.is_symlink() else waiting).append(inner)
                elif is_file:
                    self.files.append(inner)
                    self.count += 1
                    if entry.is_symlink():
                        self._links.add(inner)
                else:
                    self._leave_found("dangling link" if entry.is_symlink() else "no plain file", inner)

    def _leave_found(self, reason: str, place: str) -> None:
        self.leave(reason, place)
        self.count += 1

    def _real(self, place: str) -> str:
        if place in self._links:
            return os.path.realpath(self.folder / place)
        above, _, name = place.rpartition("/")
        return f"{self._real_folders[above]}{os.sep}{name}"


def _kind(entry: "os.DirEntry[str]") -> tuple[bool, bool]:
    """Whether it is a folder, and whether a plain file; neither where a link leads nowhere, or in a circle."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:
        return False, False
