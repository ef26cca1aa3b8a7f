"""Files of samples: names no prompt can choose, numbers no two processes share, nothing half-written."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from videogpt.pipeline.request import Request, Sample
from videogpt.pipeline.sample_files import SampleWriter, contact_sheet
from videogpt.sampling.config import SamplingConfig
from videogpt_tokenizer.clips.clip import Clip


def sample(prompt: str = "a red circle moves left", seed: int = 3, frames: int = 5) -> Sample:
    noise_THWC = torch.randint(0, 256, (frames, 16, 24, 3), dtype=torch.uint8)
    made = {"sampling": SamplingConfig(top_k=7), "batch_seconds": 0.5, "samples_in_batch": 2}
    return Sample(clip=Clip(noise_THWC, fps=8.0), request=Request(text=prompt, seed=seed), **made)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("file_format", ["mp4", "gif", "webp"])
def test_a_sample_is_a_video_and_a_record(tmp_path: Path, file_format: str) -> None:
    writer = SampleWriter(tmp_path / "new", file_format=file_format, about={"model": {"name": "tiny"}})
    path = writer.write(sample())
    assert names(path.parent) == [f"0001-a-red-circle-moves-left-s3.{end}" for end in sorted([file_format, "json"])]
    assert len(Clip.read(path)) == 5
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (record["prompt"], record["seed"], record["file"]) == ("a red circle moves left", 3, path.name)
    assert record["sampling"]["top_k"] == 7 and record["timings"]["samples_in_batch"] == 2
    assert (record["num_frames"], record["height"], record["width"], record["fps"]) == (5, 16, 24, 8.0)
    assert record["model"] == {"name": "tiny"}


@pytest.mark.parametrize("prompt", ["../../up", "/etc/x", "a\nb\0c", "'\"; rm -rf *", ".", "\udc80", "\u732b" * 9999])
def test_no_prompt_chooses_where_its_file_goes(tmp_path: Path, prompt: str) -> None:
    path = SampleWriter(tmp_path / "a" / "b").write(sample(prompt))
    assert path.parent == tmp_path / "a" / "b" and re.fullmatch(r"0001-[a-z0-9-]+-s3\.mp4", path.name)
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["b"]
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["prompt"] == prompt


def test_numbers_go_on_and_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "0041-mine.txt").write_text("keep")
    assert [SampleWriter(tmp_path).write(sample()).name[:5] for _ in range(2)] == ["0042-", "0043-"]
    assert (tmp_path / "0041-mine.txt").read_text() == "keep"


def test_racing_writers_never_share_a_number(tmp_path: Path) -> None:
    def write(seed: int) -> Path:
        return SampleWriter(tmp_path, file_format="gif").write(sample(seed=seed, frames=1))

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(24)))
    assert len({path.name[:4] for path in paths}) == 24
    assert len(names(tmp_path)) == 48


def test_a_number_left_by_a_killed_process_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".0007.claim").touch()
    (tmp_path / ".0008-a-s0.mp4.partial-1").touch()
    assert SampleWriter(tmp_path).write(sample()).name.startswith("0009-")


def test_a_full_disk_leaves_nothing_of_the_sample(tmp_path: Path, full_disk) -> None:
    writer = SampleWriter(tmp_path, file_format="gif")
    said = f"^cannot write {tmp_path}: File too large; free some space or choose another --output$"
    with full_disk(500), pytest.raises(OSError, match=said):
        writer.write(sample())
    assert names(tmp_path) == []
    writer.about["long"] = "x" * 10_000
    with full_disk(9_000), pytest.raises(OSError):  # the video fits, its record does not
        writer.write(sample())
    assert names(tmp_path) == []
    assert writer.write(sample()).name.startswith("0001-")


def test_an_unwritable_folder_and_an_unknown_format_are_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/nowhere")):
        with pytest.raises(OSError, match=f"^cannot write {folder}: .*; choose another --output$"):
            SampleWriter(folder)
    with pytest.raises(ValueError, match="format 'exe'"):
        SampleWriter(tmp_path, file_format="exe")


def test_a_contact_sheet_has_a_row_for_each_sample(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path)
    assert writer.write_contact_sheet() is None
    for seed in range(2):
        writer.write(sample(seed=seed, frames=17))
    path = writer.write_contact_sheet()
    assert path is not None and path.name == "0003-contact-sheet.png"
    assert Clip.read(path).frames_THWC.shape == (1, 2 * 16 + 2, 9 * 24 + 8 * 2, 3)
    assert writer.write_contact_sheet() is None


def test_a_sheet_shows_first_and_last_frame_and_fills_short_rows_with_white() -> None:
    long, short = sample(frames=30).clip, sample(frames=2).clip
    sheet_HWC = contact_sheet([long, short])
    assert torch.equal(sheet_HWC[:16, :24], long.frames_THWC[0])
    assert torch.equal(sheet_HWC[:16, -24:], long.frames_THWC[-1])
    assert torch.equal(sheet_HWC[18:, 26:50], short.frames_THWC[1])
    assert (sheet_HWC[18:, 50:] == 255).all() and (sheet_HWC[16:18] == 255).all()
