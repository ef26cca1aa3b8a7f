"""The tokenizer that ships: found by name, small, and good at pictures that it has not seen."""

from pathlib import Path

import pytest
import torch

from videogpt.pipeline.names import load_tokenizer
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt_tokenizer import ClipDataModule, VideoTokenizer
from videogpt_tokenizer.metrics import psnr
from videogpt_tokenizer.video_tokenizer import shipped_tokenizers


@pytest.fixture(scope="module")
def natural() -> VideoTokenizer:
    return VideoTokenizer.from_pretrained("natural")


def test_it_is_found_by_name_and_small(natural: VideoTokenizer) -> None:
    assert natural.codebook_size == 64_000 and (natural.time_stride, natural.space_stride) == (4, 8)
    assert sum(parameter.numel() for parameter in natural.parameters()) < 5e6
    folder = shipped_tokenizers()["natural"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12 * 2**20
    assert load_tokenizer("natural").fingerprint() == natural.fingerprint()
    assert "## Limits" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_name_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for load in (VideoTokenizer.from_pretrained, load_tokenizer):
        with pytest.raises(ValueError, match=r"'neutral' is neither a folder nor .*natural"):
            load("neutral")
        with pytest.raises(ValueError, match="neither a folder"):
            load("./natural")


@pytest.mark.parametrize("side", [64, 128, 256])
def test_it_keeps_pictures_of_another_kind(natural: VideoTokenizer, side: int) -> None:
    world = ShapesWorld()
    video = world.render(world.scene(8_000_000, 0)).video_CTHW()
    frames = torch.nn.functional.interpolate(video.transpose(0, 1), size=(side, side), mode="bilinear")
    video_BCTHW = frames.transpose(0, 1)[None]
    assert float(psnr(natural.decode(natural.encode(video_BCTHW)), video_BCTHW)) > 25


def test_it_keeps_filmed_clips_of_sources_never_seen(natural: VideoTokenizer, real_data: Path) -> None:
    split = {"validation_column": "repo", "validation_fraction": 0.2}
    data = ClipDataModule(folder=str(real_data / "natural"), **split, size=128, batch_size=4)
    data.setup("validate")
    videos = (batch["video"] for batch in data.val_dataloader())
    found = [psnr(natural.decode(natural.encode(video)), video) for video in videos]
    assert float(torch.cat(found).mean()) > 25
