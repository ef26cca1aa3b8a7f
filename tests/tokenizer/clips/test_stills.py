"""Animated WebP files of others."""

from pathlib import Path

import numpy as np
from PIL import Image

from videogpt_tokenizer.clips.clip import Clip


def test_animated_webp_is_composited_as_pillow_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [np.zeros((40, 40, 4), np.uint8) for _ in range(5)]
    for i, picture in enumerate(pictures):
        picture[5 * i : 5 * i + 15, 4:30] = generator.integers(0, 255, (1, 26, 4))
    images = [Image.fromarray(picture, "RGBA") for picture in pictures]
    path = tmp_path / "pillow.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=125, lossless=True, kmin=3, kmax=9)
    clip = Clip.read(path)
    assert (len(clip), clip.fps) == (5, 8)
    for i, frame_HWC in enumerate(clip.frames_THWC.numpy()):
        rgba = pictures[i].astype(float)
        assert np.abs(frame_HWC - rgba[..., :3] * rgba[..., 3:] / 255).max() <= 1.01
