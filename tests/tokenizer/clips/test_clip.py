"""A clip in memory: frames and floats, and what is no clip."""

from collections.abc import Callable

import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip


def test_video_tensor_comes_back_exactly() -> None:
    frames_THWC = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).reshape(1, 16, 16, 3)
    video_CTHW = Clip(frames_THWC, 8).video_CTHW()
    assert (float(video_CTHW.min()), float(video_CTHW.max())) == (-1, 1)
    assert Clip.from_video(video_CTHW, 8).frames_THWC.equal(frames_THWC)


def test_values_out_of_range_are_clamped() -> None:
    video_CTHW = torch.tensor([-7.0, 0.001, 7.0]).repeat(3, 1, 2, 1)
    assert Clip.from_video(video_CTHW, 8).frames_THWC[0, 0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Clip(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 8), "height, width, 3"),
        (lambda: Clip(torch.zeros(2, 8, 8, 3), 8), "uint8"),
        (lambda: Clip(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), 0), "fps=0"),
        (lambda: Clip.from_video(torch.zeros(2, 3, 8, 8, 8), 8), "shape"),
        (lambda: Clip.from_video(torch.full((3, 1, 8, 8), float("nan")), 8), "NaN"),
    ],
)
def test_what_is_no_clip_is_refused(make: Callable[[], Clip], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
