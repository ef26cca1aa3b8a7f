"""Files inside of tar files read as any other; a tar file that is not whole is refused."""

import gzip
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.tar_shards import is_file_or_member, open_member, shard_members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def make_tar(path: Path, files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return make_tar(tmp_path / "0001.tar", {"a.mp4": bytes(range(256)) * 40, "a.txt": b"a caption", "b.txt": b""})


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["a.mp4", "./deep/er/b.mp4", "long " * 19 + "c.mp4", "d-ü.mp4"])
def test_a_clip_inside_is_the_clip(clip_file: Path, tmp_path: Path, format: str, name: str) -> None:
    make_tar(tmp_path / "x.TAR", {"first.bin": b"1" * 777, name: clip_file.read_bytes()}, FORMATS[format])
    inside, outside = Clip.read(tmp_path / "x.TAR" / name, fps=4), Clip.read(clip_file, fps=4)
    assert torch.equal(inside.frames_THWC, outside.frames_THWC) and inside.fps == outside.fps
    pieces = list(Clip.read_pieces(tmp_path / "x.TAR" / name, 4))
    assert sum(map(len, pieces)) == len(Clip.read(clip_file))


def test_a_member_is_a_file_of_its_own(shard: Path) -> None:
    content, draw = bytes(range(256)) * 40, random.Random(0)
    file, other = open_member(shard / "a.mp4"), open_member(shard / "a.mp4")
    assert file and other
    with file, other:
        assert file.read() == content and file.read() == b"" and file.name == str(shard / "a.mp4")
        assert file.seek(0, os.SEEK_END) == file.tell() == len(content)
        for _ in range(200):
            start, size = draw.randrange(11_000), draw.randrange(9_000)
            assert file.seek(start) == start and file.read(size) == content[start : start + size]
        assert other.tell() == 0 and other.read(3) == content[:3]
        with pytest.raises((OSError, ValueError)):
            file.seek(-1)
    assert file.closed


def test_paths_that_lead_to_no_member(shard: Path) -> None:
    (shard.parent / "folder.tar").mkdir()
    (shard.parent / "folder.tar" / "a.mp4").write_bytes(b"1")
    for path in (shard, shard / "c.mp4", shard / "a.mp4" / "deeper", shard.parent / "no.tar" / "a.mp4"):
        assert open_member(path) is None
    assert open_member(shard.parent / "folder.tar" / "a.mp4") is None
    found = [is_file_or_member(path) for path in (shard, shard / "a.mp4", shard / "c.mp4", shard.parent)]
    assert found == [True, True, False, False]
    with pytest.raises(ValueError, match=r"0001\.tar/c\.mp4: there is no such file"):
        Clip.read(shard / "c.mp4")
    with pytest.raises(ValueError, match=r"0001\.tar/b\.txt: is empty \(0 bytes\)"):
        Clip.read(shard / "b.txt")
    with pytest.raises(ValueError, match=r"0001\.tar/a\.txt: cannot be decoded"):
        Clip.read(shard / "a.txt")


def test_a_changed_tar_is_read_anew(shard: Path) -> None:
    assert set(shard_members(shard).places) == {"a.mp4", "a.txt", "b.txt"}
    make_tar(shard, {"c.mp4": b"3" * 99_999})
    assert set(shard_members(shard).places) == {"c.mp4"}


def test_what_is_no_plain_file_or_leads_out_is_left_aside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in {"link.mp4": tarfile.SYMTYPE, "hard.mp4": tarfile.LNKTYPE, "device.mp4": tarfile.CHRTYPE,
                           "pipe.mp4": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE, "/etc/passwd.mp4": tarfile.REGTYPE,
                           "../out.mp4": tarfile.REGTYPE, "a/../../b.mp4": tarfile.REGTYPE,
                           "good.mp4": tarfile.REGTYPE}.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    members = shard_members(tmp_path / "x.tar")
    assert set(members.places) == {"good.mp4"}
    assert set(members.unsafe) == {"link.mp4", "hard.mp4", "device.mp4", "pipe.mp4", "/etc/passwd.mp4", "../out.mp4",
                                   "a/../../b.mp4"}  # fmt: skip


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[:300], "is cut short, damaged or no tar"),
        (lambda data: data[:9_000], "is cut short"),  # in a member
        (lambda data: data[:10_752], "is cut short"),  # between two members
        (lambda data: data[:12_288], "is cut short"),  # behind the last, before the end mark
        (lambda data: data[:10_800] + b"!" + data[10_801:], "is cut short, damaged"),  # in a later header
        (lambda data: b"!" + data[1:], "is cut short, damaged"),  # in the first
        (lambda data: data + data, "goes on behind its end mark"),
        (gzip.compress, "is compressed; unpack it"),
        (lambda data: b"no tar file at all " * 99, "is cut short, damaged or no tar"),
    ],
)  # fmt: skip
def test_a_tar_that_is_not_whole_is_refused(shard: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(ValueError, match=rf"0001\.tar: {message}") as caught:
        shard_members(shard)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="0001"):
        Clip.read(shard / "a.mp4")


def test_mutated_tars_are_read_or_refused(shard: Path) -> None:
    sound, draw = shard.read_bytes(), random.Random(0)
    for number in range(300):
        data = bytearray(sound)
        for _ in range(draw.choice([1, 3, 20])):
            block = draw.choice([0, 10_752, 11_776])  # the headers
            data[block + draw.randrange(512)] = draw.choice([0, 0x80, 0xFF, 0x39, draw.randrange(256)])
            header = data[block : block + 148] + b" " * 8 + data[block + 156 : block + 512]
            if draw.random() < 0.7:  # with its checksum made right
                data[block + 148 : block + 156] = b"%06o\0 " % sum(header)
        path = shard.with_name(f"{number}.tar")
        path.write_bytes(data)
        try:
            members = shard_members(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert all(offset >= 0 and 0 <= size <= len(data) - offset for offset, size in members.places.values())
