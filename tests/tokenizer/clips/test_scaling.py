"""Pictures of the wanted size: what is cut out, averaged, turned and laid on black."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videogpt_tokenizer.clips.clip import Clip


def test_size_covers_and_cuts_out_the_centre(tmp_path: Path) -> None:
    stripes_THWC = torch.zeros(1, 32, 96, 3, dtype=torch.uint8)
    for third in range(3):
        stripes_THWC[:, :, 32 * third : 32 * third + 32, third] = 255
    path = Clip(stripes_THWC, 8).write(tmp_path / "stripes.png")
    middle = Clip.read(path, size=16).frames_THWC
    assert middle.shape == (1, 16, 16, 3)
    assert middle[0, :, 1:-1].reshape(-1, 3).unique(dim=0).tolist() == [[0, 255, 0]]
    assert Clip.read(path, size=(64, 48)).frames_THWC.shape == (1, 64, 48, 3)


def test_shrinking_averages_instead_of_skipping(tmp_path: Path) -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    clip = Clip(checks.to(torch.uint8)[None, :, :, None].repeat(1, 1, 1, 3), 8)
    shrunk = Clip.read(clip.write(tmp_path / "checks.png"), size=16).frames_THWC.float()
    assert shrunk.sub(127.5).abs().max() < 4


def test_alpha_of_an_image_is_laid_on_black(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3], rgba[:, :4, 3], rgba[:, 4:, 3] = 200, 255, 51
    Image.fromarray(rgba, "RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(rgba, "RGBA").save(tmp_path / "alpha.webp", lossless=True)
    for name in ("alpha.png", "alpha.webp"):
        row = Clip.read(tmp_path / name).frames_THWC[0, 0, :, 0]
        assert row.tolist() == [200] * 4 + [40] * 4, name


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_of_a_video_is_laid_on_black(encode, tmp_path: Path, codec: str) -> None:
    rgba = np.full((32, 32, 4), 200, np.uint8)
    rgba[:, :16, 3], rgba[:, 16:, 3] = 255, 0
    encode(tmp_path / "alpha.webm", [rgba], codec, kind="rgba", pixels="yuva420p", options={"auto-alt-ref": "0"})
    row = Clip.read(tmp_path / "alpha.webm").frames_THWC[0, 16, :, 0].float()
    assert (row[:12] - 200).abs().max() < 6 and row[20:].max() < 6


def test_rotation_flag_is_obeyed(smooth_clip: Clip, tmp_path: Path) -> None:
    data = bytearray(smooth_clip.write(tmp_path / "upright.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    upright, turned = Clip.read(tmp_path / "upright.mp4"), Clip.read(tmp_path / "turned.mp4")
    # The matrix of a phone held upright: the stored picture is shown turned by 90 degrees clockwise.
    assert turned.frames_THWC.equal(upright.frames_THWC.rot90(-1, dims=(1, 2)))
    assert Clip.read(tmp_path / "turned.mp4", size=(32, 24)).frames_THWC.shape == (9, 32, 24, 3)


def test_a_ribbon_is_not_enlarged_beyond_memory(tmp_path: Path) -> None:
    path = Clip(torch.zeros(1, 1, 9000, 3, dtype=torch.uint8), 8).write(tmp_path / "ribbon.png")
    assert Clip.read(path).width == 9000
    with pytest.raises(ValueError, match="is 9000 x 1, too long and narrow to cover 100 x 100; cut it first"):
        Clip.read(path, size=100)
