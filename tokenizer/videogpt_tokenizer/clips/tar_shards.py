"""Clips inside tar files, as WebDataset publishes them: `0001.tar/KEY.mp4` with `KEY.txt` or `KEY.json` beside it.

    for name in shard_members(Path("shards/0001.tar")).names: ...
    file = open_member(Path("shards/0001.tar/KEY.mp4"))         # a file of its own to any reader; None if it is none

Nothing is unpacked. Refuses, with a ValueError that names it, a tar file that is cut short, damaged, compressed, or
followed by another. Members that are no plain files, or whose names lead out of the tar, are left aside.
"""

import io
import os
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast

TAR_SUFFIX = ".tar"
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


class _Members(NamedTuple):
    """What a tar file holds."""

    places: Mapping[str, tuple[int, int]]
    """Offset and size of every plain file, by its name."""
    unsafe: tuple[str, ...]
    """Names of what is left aside: links, devices, sparse files, names that lead out."""


def shard_members(tar: Path) -> _Members:
    """The index of a tar file, made once as long as it stays the same."""
    stat = tar.stat()
    return _index(str(tar), stat.st_size, stat.st_mtime_ns)


def open_member(path: Path) -> BinaryIO | None:
    """The member that a path through a tar file names, opened; None where the path leads through none."""
    found = _find(path)
    return cast(BinaryIO, io.BufferedReader(_Slice(path, *found))) if found else None


def is_file_or_member(path: Path) -> bool:
    """Whether a reader of clips can open the path."""
    return _find(path) is not None or path.is_file()


def _find(path: Path) -> tuple[Path, int, int] | None:
    """The tar file that a path leads through, and the offset and size of what it names there."""
    if TAR_SUFFIX not in str(path).lower():
        return None
    for tar in path.parents:
        if tar.suffix.lower() == TAR_SUFFIX and tar.is_file():
            place = shard_members(tar).places.get(path.relative_to(tar).as_posix())
            return (tar, *place) if place else None
    return None


class _Slice(io.RawIOBase):
    """Some bytes of a file, as if they were a file."""

    def __init__(self, path: Path, tar: Path, offset: int, size: int) -> None:
        self.name, self._offset, self._size, self._position = str(path), offset, size, 0
        self._file = tar.open("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._offset + self._position)
        count = self._file.readinto(memoryview(buffer)[:wanted]) if wanted else 0
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(f"{self.name}: no place {start + offset}")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@cache
def _index(tar: str, length: int, _changed: int) -> _Members:
    places: dict[str, tuple[int, int]] = {}
    unsafe = []
    with Path(tar).open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while member := archive.next():
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # which it would collect
                    if not 0 <= member.size <= length - member.offset_data:
                        raise tarfile.ReadError("unexpected end of data")
                    name = PurePosixPath(member.name)
                    is_inside = not name.is_absolute() and ".." not in name.parts and name.parts
                    if member.isreg() and not member.issparse() and is_inside:
                        places[name.as_posix()] = member.offset_data, member.size
                    elif not member.isdir():
                        unsafe.append(member.name)
                end = archive.offset
        except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError, EOFError) as error:
            raise ValueError(f"{tar}: {_what_is_wrong(tar, str(error), length)}") from error
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # where tarfile stops without a word
            raise ValueError(f"{tar}: {_what_is_wrong(tar, f'no end mark at byte {end}', length)}")
        while block := file.read(1 << 20):
            if block.strip(tarfile.NUL):
                raise ValueError(f"{tar}: goes on behind its end mark; were several joined? Give each as a file")
    return _Members(places, tuple(unsafe))


def _what_is_wrong(tar: str, error: str, length: int) -> str:
    if not length:
        return "is empty (0 bytes); copy or download it again"
    with Path(tar).open("rb") as file:
        is_compressed = file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
    if is_compressed:
        return "is compressed; unpack it to a plain tar or to files"
    return f"is cut short, damaged or no tar file ({error}); copy or download it again"
