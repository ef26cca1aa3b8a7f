"""Figures by frame: what the formulas say, however a clip is cut, and seams where they are."""

import math

import pytest
import torch

from videogpt.evaluation.frame_meter import EightBitFigures, FrameMeter, mean_by_place, mean_figures
from videogpt.evaluation.reconstruction_report import places_line
from videogpt_tokenizer.metrics import psnr, ssim


def measured(original: torch.Tensor, result: torch.Tensor, sizes: list[int] | None = None) -> EightBitFigures:
    meter = FrameMeter()
    for pair in zip(original.split(sizes or len(original)), result.split(sizes or len(original)), strict=True):
        meter.add(*pair)
    assert len(meter) == len(original)
    return meter.figures()


def with_errors(levels: list[int]) -> EightBitFigures:
    """Of a grey clip whose every frame is off by so many levels."""
    original = torch.full((len(levels), 16, 16, 3), 100, dtype=torch.uint8)
    return measured(original, original + torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1))


def of_error(levels: float) -> float:
    return 20 * math.log10(255 / levels)


def test_figures_are_those_of_their_formulas(random_clip) -> None:
    original, result = random_clip(9, 16, 24), random_clip(9, 16, 24)
    figures = measured(original.frames_THWC, result.frames_THWC)
    target, video = original.video_CTHW()[None], result.video_CTHW()[None]
    steps, wanted_steps = video.diff(dim=2), target.diff(dim=2)
    assert figures.psnr == pytest.approx(float(psnr(video, target)), abs=1e-4)
    assert figures.ssim == pytest.approx(float(ssim(video, target)), abs=1e-5)
    assert figures.temporal_psnr == pytest.approx(float(psnr(steps, wanted_steps)), abs=1e-4)
    assert figures.flicker == pytest.approx(127.5 * float((steps - wanted_steps).abs().mean()), rel=1e-4)
    for index in range(9):
        one = float(psnr(video[:, :, index : index + 1], target[:, :, index : index + 1]))
        assert figures.psnr_T[index] == pytest.approx(one, abs=1e-4)
    assert math.isnan(figures.change_psnr_T[0]) and len(figures.change_psnr_T) == 9


@pytest.mark.parametrize("sizes", [[1] * 9, [1, 8], [4, 3, 2]])
def test_cut_anywhere_the_figures_are_the_same(sizes: list[int], random_clip) -> None:
    original, result = (random_clip(9, 16, 24).frames_THWC for _ in range(2))
    whole, cut = measured(original, result), measured(original, result, sizes)
    for name, value in vars(whole).items():
        assert getattr(cut, name) == pytest.approx(value, rel=1e-5, nan_ok=True)


def test_a_constant_error_is_no_flicker() -> None:
    figures = with_errors([10] * 6)
    assert figures.psnr == pytest.approx(of_error(10), abs=1e-3)
    assert (figures.temporal_psnr, figures.flicker) == (100, 0)
    assert with_errors([10, 13, 10, 13]).flicker == pytest.approx(3, abs=1e-3)


def test_places_show_a_seam_between_latent_frames_and_a_frame_that_differs_by_its_place() -> None:
    """The error steps by 8 levels with every latent frame of four, after the first frame's own."""
    figures = with_errors([1] + [9] * 4 + [17] * 4 + [25] * 4)
    first, *within = mean_by_place([figures.psnr_T], time_stride=4)
    assert first == pytest.approx(of_error(1), abs=1e-3)
    assert len(within) == 4 and len(set(within)) == 1
    first, *within = mean_by_place([figures.change_psnr_T], time_stride=4)
    assert math.isnan(first) and within == pytest.approx([of_error(8), 100, 100, 100], abs=1e-3)
    figures = with_errors([4] + [2, 4, 8, 16] * 2)
    assert mean_by_place([figures.psnr_T], 4)[1:] == pytest.approx([of_error(e) for e in (2, 4, 8, 16)], abs=1e-3)


def test_means_count_each_clip_once_and_only_clips_that_have_the_frame() -> None:
    short, long = with_errors([2]), with_errors([4] * 9)
    figures = mean_figures([short, long])
    assert figures.psnr == pytest.approx((of_error(2) + of_error(4)) / 2, abs=1e-3)
    assert figures.psnr_T[0] == figures.psnr and figures.psnr_T[1:] == long.psnr_T[1:]
    assert (figures.temporal_psnr, figures.flicker) == (100, 0)  # of the long one alone
    assert mean_by_place([short.psnr_T, long.psnr_T], 4)[0] == figures.psnr


def test_what_is_not_there_is_no_number_and_left_out_of_the_line(random_clip) -> None:
    figures = measured(*(random_clip(1, 8, 8).frames_THWC for _ in range(2)))
    assert all(map(math.isnan, (figures.ssim, figures.temporal_psnr, figures.flicker)))
    assert places_line([figures], 4) == f"PSNR by place: {figures.psnr:.2f} dB first"
    assert "nan" not in places_line([with_errors([4, 2, 4])], 4)
