"""The shapes world as a `World`: endless scenes, captions that leave something out now and then, and a checker.

world = ShapesWorld()
world.render(world.scene(seed=0, index=7)).write("shapes.mp4")     # 17 frames of 64x64 at 8 per second
"""

import numpy as np
import torch
from numpy.typing import NDArray

from videogpt.worlds.shapes.captions import shapes_caption
from videogpt.worlds.shapes.checker import agreement, check
from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.scene import Scene, draw_rng, sample_scene
from videogpt.worlds.world import FPS, Split, World
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord


class ShapesWorld(World[Scene]):
    """One or two objects on a plain background; the metadata hold each scene as JSON, with the exact tracks."""

    columns = ("scene",)

    def scene(self, seed: int, index: int, split: Split = "train") -> Scene:
        return sample_scene(seed, index, split)

    def caption_rng(self, seed: int, index: int, split: Split = "train") -> np.random.Generator:
        return draw_rng(seed, index, split, stream=1)

    def render(self, scene: Scene) -> Clip:
        return Clip(torch.from_numpy(render(scene)), FPS)

    def caption(self, scene: Scene, rng: np.random.Generator) -> str:
        return shapes_caption(scene, rng)

    def fields(self, scene: Scene) -> dict[str, str]:
        return {"scene": scene.to_json()}

    def scene_of(self, record: ClipRecord) -> Scene:
        return Scene.from_json(str(record.fields["scene"]))

    def full_caption(self, record: ClipRecord, rng: np.random.Generator) -> str:
        return shapes_caption(self.scene_of(record), rng, full=True)

    def verdict(self, frames_THWC: NDArray[np.uint8], scene: Scene) -> dict[str, bool]:
        """Count, shape, colour, size, motion and background."""
        return agreement(*check(frames_THWC), scene)

    def group(self, scene: Scene) -> str:
        return "one object" if len(scene.objects) == 1 else "two objects"
