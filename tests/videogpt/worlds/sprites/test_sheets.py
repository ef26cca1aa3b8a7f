"""Sprite sheets: layers exactly laid over each other, numbered, and refused where they are incomplete."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videogpt.worlds.sprites.scene import ACTIONS, DIRECTIONS
from videogpt.worlds.sprites.sheets import CELL, NUM_CELLS, SpriteSheets
from videogpt.worlds.world import NUM_FRAMES


def test_clips_go_round_their_action(sheets: SpriteSheets) -> None:
    assert len(sheets) == 24 * 20
    for number, action in zip(range(0, 20, 4), ACTIONS, strict=True):
        frames_THWC = sheets.frames(number)
        assert sheets.sprite(number).action == action
        assert frames_THWC.shape == (NUM_FRAMES, CELL, CELL, 3) and frames_THWC.dtype == np.uint8
        again = [(frame_HWC == frames_THWC[0]).all() for frame_HWC in frames_THWC]
        assert [t for t, same in enumerate(again) if same] == list(range(0, NUM_FRAMES, NUM_CELLS[action]))


def test_a_sprite_has_one_number(sheets: SpriteSheets) -> None:
    sprites = [sheets.sprite(number) for number in range(len(sheets))]
    assert [sheets.number(sprite) for sprite in sprites] == list(range(len(sheets)))
    with pytest.raises(ValueError, match="no clip .* purple orc"):
        sheets.number(sprites[0]._replace(body="purple orc"))


def test_higher_layers_cover_lower_ones(sheets: SpriteSheets, source: Path) -> None:
    index = 120 + 8 + DIRECTIONS.index("left")  # body 0, bottomwear 1, topwear 0, hair 0, walking left
    assert sheets.sprite(index) == ("light skin", "brown skirt", "teal shirt", "red hair", "walk", "left")
    expected = np.zeros((CELL, CELL, 3), np.uint8)
    for name in ("body/0", "bottomwear/1", "topwear/0", "hair/0", "shoes/1"):
        sheet = np.array(Image.open(source / f"{name}.png"))
        cell = sheet[9 * CELL : 10 * CELL, 2 * CELL : 3 * CELL]  # row 8 walks away, 9 left; third frame
        expected = np.where(cell[..., 3:] > 0, cell[..., :3], expected)
    assert np.array_equal(sheets.frames(index)[2], expected)


def test_incomplete_sources_are_refused(source: Path, tmp_path) -> None:
    def refused(complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            SpriteSheets(tmp_path)

    refused("attributes.tsv is missing")
    (tmp_path / "attributes.tsv").write_text((source / "attributes.tsv").read_text())
    refused("body/0.png is missing")
    (tmp_path / "body").mkdir()
    Image.new("RGBA", (64, 64)).save(tmp_path / "body" / "0.png")
    refused("64x64 pixels, not 832x1344")
    (tmp_path / "body" / "0.png").write_bytes(b"no picture")
    refused("cannot be read as a picture")
    (tmp_path / "attributes.tsv").write_text("layer\twords\nbody\tlight skin\n")
    refused("columns layer, index and words")
