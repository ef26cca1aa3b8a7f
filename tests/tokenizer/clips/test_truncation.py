"""Files that end before their headers say: refused, but for frames that are whole."""

from pathlib import Path

import pytest

from videogpt_tokenizer.clips.clip import Clip

FILMS = [(9, suffix, kept) for suffix in (".mp4", ".webm", ".avi", ".gif", ".webp") for kept in (0.95, 0.6, 0.05)]
IMAGES = [(1, suffix, None) for suffix in (".png", ".jpg", ".webp")]


@pytest.mark.parametrize("frames, suffix, kept", FILMS + IMAGES)
def test_a_file_that_is_cut_short_is_refused(smooth_clip: Clip, tmp_path: Path, frames, suffix: str, kept) -> None:
    path = Clip(smooth_clip.frames_THWC[:frames], 8).write(tmp_path / f"cut{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)] if kept else data[:-2])
    with pytest.raises(ValueError, match=f"{path}: .*(cut short|cannot be decoded|is damaged)"):
        Clip.read(path)


def test_what_a_phone_appends_to_a_photo_does_not_matter(smooth_clip: Clip, tmp_path: Path) -> None:
    path = Clip(smooth_clip.frames_THWC[:1], 8).write(tmp_path / "photo.jpg")
    photo = Clip.read(path)
    path.write_bytes(path.read_bytes() + smooth_clip.write(tmp_path / "film.mp4").read_bytes())
    assert Clip.read(path).frames_THWC.equal(photo.frames_THWC)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_the_sound_part_of_a_cut_file_can_be_read(smooth_clip: Clip, tmp_path: Path, suffix: str) -> None:
    path = Clip(smooth_clip.frames_THWC.repeat(4, 1, 1, 1), fps=8).write(tmp_path / f"clip{suffix}")
    whole = Clip.read(path, num_frames=3)
    path.write_bytes(path.read_bytes()[:-300])
    assert Clip.read(path, num_frames=3).frames_THWC.equal(whole.frames_THWC)
