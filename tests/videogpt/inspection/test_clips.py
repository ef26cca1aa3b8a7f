"""Clips are described, and damaged ones named."""

from pathlib import Path

from videogpt.inspection.inspect import inspect_path
from videogpt_tokenizer.clips.clip import Clip


def test_a_video_and_an_image(clips: Path) -> None:
    video = inspect_path(clips / "red_circle" / "1.avi")
    assert "video, 24x16 pixels" in video.lines[0] and "6 at 8 a second" in video.lines[1] and not video.faults
    Clip.read(clips / "red_circle" / "1.avi", num_frames=1).write(clips / "one.png")
    assert "image, 24x16 pixels" in inspect_path(clips / "one.png").lines[0]


def test_a_folder_of_clips_with_a_damaged_one(clips: Path) -> None:
    sound = inspect_path(clips)
    assert "2 clips: 2 good, 0 bad" in sound.lines[0] and "5 to 6; sizes: 24x16" in sound.lines[2] and not sound.faults
    damaged = clips / "red_circle" / "0.avi"
    damaged.write_bytes(damaged.read_bytes()[:-500])
    found = inspect_path(clips)
    assert "2 clips: 1 good, 1 bad" in found.lines[0]
    assert len(found.faults) == 1 and "0.avi" in found.faults[0]


def test_every_bad_clip_is_named_and_ten_in_the_error(clips: Path, videogpt) -> None:
    for index in range(12):
        (clips / f"bad{index:02}.mp4").touch()
    printed = videogpt("inspect", clips, code=2)
    assert "14 clips: 2 good, 12 bad" in printed.out
    last = printed.err.splitlines()[-1]
    assert all(f"bad{index:02}.mp4" in last for index in range(10)) and last.endswith("; and 2 more")
    assert "bad10.mp4" not in last and all(f"fault: {clips}/bad{index:02}.mp4: " in printed.out for index in range(12))


def test_columns_of_the_metadata_can_be_chosen(clips: Path, videogpt) -> None:
    (clips / "metadata.csv").write_text("video,text\nred_circle/0.avi,a circle\n")
    assert "--file-column" in videogpt("inspect", clips, code=2).err
    columns = ["--file-column", "video", "--caption-column", "text"]
    assert "1 clips: 1 good" in videogpt("inspect", clips, *columns).out
