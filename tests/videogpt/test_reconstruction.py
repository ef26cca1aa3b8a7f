"""Clips through the tokenizer and back: any size and length, in pieces as in one, honest figures."""

import math
from pathlib import Path

import pytest
import torch

from videogpt import reconstruction
from videogpt.bad_clips import BadClips
from videogpt.cli import main
from videogpt.reconstruction import find_clips, mean_of, reconstruct, reconstruct_clip
from videogpt_tokenizer.autoencoder import AutoencoderConfig
from videogpt_tokenizer.clip import Clip
from videogpt_tokenizer.metrics import psnr, ssim
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
    return VideoTokenizer(TokenizerConfig(autoencoder=network)).eval()


def random_clip(frames: int, height: int, width: int) -> Clip:
    return Clip(torch.randint(0, 256, (frames, height, width, 3)).to(torch.uint8), 8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 13, 20), (6, 16, 9), (40, 8, 16)])
def test_every_size_and_length_comes_back_as_it_was(shape: tuple[int, int, int], tokenizer: VideoTokenizer) -> None:
    clip = random_clip(*shape)
    result, num_codes = reconstruct_clip(clip, tokenizer)
    assert result.frames_THWC.shape == clip.frames_THWC.shape and result.fps == clip.fps
    frames, height, width = shape
    assert num_codes == (math.ceil((frames - 1) / 4) + 1) * math.ceil(height / 8) * math.ceil(width / 8)


@pytest.mark.parametrize("latents_at_once", [1, 3])
def test_in_pieces_equals_whole(latents_at_once: int, tokenizer: VideoTokenizer, monkeypatch) -> None:
    monkeypatch.setattr(reconstruction, "LATENTS_AT_ONCE", latents_at_once)
    clip = random_clip(33, 16, 16)
    whole = tokenizer.decode(tokenizer.encode(clip.video_CTHW()[None]))[0]
    expected = Clip.from_video(whole, 8).frames_THWC
    assert (reconstruct_clip(clip, tokenizer)[0].frames_THWC.int() - expected.int()).abs().max() <= 1


def test_figures_are_those_of_the_files_written(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    clip = random_clip(37, 24, 16)
    clip.write(tmp_path / "My clip.avi")
    (row,) = reconstruct([tmp_path / "My clip.avi"], tokenizer)
    result = reconstruct_clip(clip, tokenizer)[0]
    pair = result.video_CTHW()[None], clip.video_CTHW()[None]
    assert row.psnr == pytest.approx(float(psnr(*pair)), abs=1e-3)
    assert row.ssim == pytest.approx(float(ssim(*pair)), abs=1e-5)
    assert row.bits_per_pixel == pytest.approx(10 * 3 * 2 * math.log2(1000) / (37 * 24 * 16))
    assert row.path is None and row.shape == "37x24x16"


def test_files_are_numbered_on_and_named_safely(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    random_clip(1, 8, 8).write(tmp_path / "..strange NAME.png")
    for number in ("0001", "0002"):
        (row,) = reconstruct([tmp_path / "..strange NAME.png"], tokenizer, tmp_path / "new" / "out")
        assert row.path == tmp_path / "new" / "out" / f"{number}-strange-name.mp4" and row.path.is_file()
        assert math.isnan(row.ssim)  # smaller than its window


def test_the_mean_counts_every_clip_once(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    for frames in (1, 9):
        random_clip(frames, 16, 16).write(tmp_path / f"{frames}.avi")
    rows = list(reconstruct(find_clips([tmp_path]), tokenizer))
    mean = mean_of(rows)
    assert [Path(row.name).name for row in rows] == ["1.avi", "9.avi"]
    assert mean.psnr == pytest.approx((rows[0].psnr + rows[1].psnr) / 2) and mean.shape == "2 clips"


@pytest.fixture
def folder(tokenizer: VideoTokenizer, tmp_path: Path) -> Path:
    """Three sound clips, a bad one, and a tokenizer in a folder of its own."""
    (tmp_path / "clips").mkdir()
    for index in range(3):
        random_clip(5, 16, 16).write(tmp_path / "clips" / f"{index}.avi")
    (tmp_path / "clips" / "bad.avi").write_bytes(b"no video")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    return main(["reconstruct", *arguments, "--tokenizer", str(folder / "tokenizer"), "--output", str(folder / "out")])


def test_a_bad_clip_of_a_folder_is_left_out_and_named(folder: Path, capsys) -> None:
    assert run(folder, str(folder / "clips"), "--max-bad-share", "0.25") == 0
    printed = capsys.readouterr()
    assert "mean (3 clips)" in printed.out
    assert "bad.avi: cannot be decoded" in printed.err and "1 of 4 clips were left out" in printed.err


@pytest.mark.parametrize("arguments", [["clips"], ["clips/0.avi", "clips/bad.avi", "--max-bad-share", "0.9"]])
def test_too_many_or_a_named_one_are_an_error_after_all_others(folder: Path, arguments, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert run(folder, *arguments) == 2
    printed = capsys.readouterr()
    assert "0.avi (5x16x16)" in printed.out and "mean" in printed.out
    assert "bad.avi: cannot be decoded" in printed.err.splitlines()[-1]


def test_where_nothing_is_reconstructed_nothing_is_left(folder: Path, capsys) -> None:
    assert run(folder, str(folder / "clips" / "bad.avi"), "--max-bad-share", "1") == 2
    assert run(folder, str(folder / "clips"), "--size", "-1") == 2
    assert run(folder, str(folder / "clips"), "--max-bad-share", "5") == 2
    assert "max_bad_share=5 must lie between 0 and 1" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_an_interrupt_leaves_no_empty_folder(folder: Path, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "reconstruct_clip", interrupt)
    assert run(folder, str(folder / "clips" / "0.avi")) == 130
    assert not (folder / "out").exists()


def test_clips_that_are_all_bad_are_refused() -> None:
    bad = BadClips(total=2, max_share=1)
    for name in ("same", "same"):
        bad.add(name, ValueError("too short"))
    with pytest.raises(ValueError, match="none of 2 clips can be used: too short; too short"):
        bad.check(2)
