"""Pictures of the shapes world: room around the objects, plain motion, anti-aliased outlines."""

import numpy as np
import pytest

from videogpt.worlds.shapes.render import BACKGROUND_RGB, cover, place, render
from videogpt.worlds.shapes.scene import Attributes, Scene, SceneObject, Track, sample_scene


def test_objects_never_touch_the_rim_or_each_other() -> None:
    for index in range(60):
        scene = sample_scene(6, index)
        frames_THWC = render(scene).astype(int)
        differs_THW = (frames_THWC != np.array(BACKGROUND_RGB[scene.background])).any(-1)
        assert not differs_THW[:, [0, -1]].any() and not differs_THW[:, :, [0, -1]].any()
        alone = [render(Scene(objects=(one,), background=scene.background)) for one in scene.objects]
        covered = [(frames != frames[0, 0, 0]).any(-1) for frames in alone]
        assert len(covered) == 1 or not (covered[0] & covered[1]).any()


def test_motion_is_plain_to_see() -> None:
    """Translations go 14 pixels or more and one way; bounces turn back midway, and slowly enough to follow."""
    for index in range(150):
        for one in sample_scene(7, index).objects:
            steps_TX = np.diff(place(one.track)[0], axis=0)
            if one.attributes.motion == "moves left":
                assert steps_TX[:, 0].sum() <= -13.9 and (steps_TX[:, 0] < 0).all() and not steps_TX[:, 1].any()
            elif one.attributes.motion == "bounces":
                turned_TX = np.sign(steps_TX[1:]) != np.sign(steps_TX[:-1])
                assert turned_TX[3:12].any() and np.ptp(place(one.track)[0], axis=0).min() > 4
            elif not one.attributes.motion.startswith("moves"):
                assert not steps_TX.any()
            assert np.abs(steps_TX).max() <= 2.5
            assert 5 <= abs(one.track.turn) <= 8 or (one.attributes.motion != "spins" and not one.track.turn)


@pytest.mark.parametrize("shape, area", [("circle", 3.1416), ("square", 2.88), ("triangle", 2.1954), ("star", 2.2831)])
@pytest.mark.parametrize("degrees", [0, 17, 45])
def test_coverage_is_anti_aliased_and_has_the_area_of_the_shape(shape: str, area: float, degrees: float) -> None:
    (coverage_SS,), _, _ = cover(shape, np.array([[30.3, 31.8]]), np.array([9.0]), np.radians([degrees]))
    assert coverage_SS.sum() == pytest.approx(area * 81, rel=0.01)
    assert 8 < ((coverage_SS > 0.05) & (coverage_SS < 0.95)).sum() < 90


def test_colour_changes_from_the_first_to_the_second() -> None:
    look = Attributes(shape="square", colour="red", motion="changes colour", size="large", second_colour="blue")
    track = Track(start=(32, 32), region=(20, 20, 44, 44), radius=13, last_radius=13, colour_change=8)
    frames_THWC = render(Scene(objects=(SceneObject(attributes=look, track=track),), background="black"))
    centre_TC = frames_THWC[:, 32, 32]
    assert centre_TC[0].argmax() == 0 and centre_TC[-1].argmax() == 2
    assert (np.diff(centre_TC[:, 2].astype(int)) >= 0).all() and len(np.unique(centre_TC[:, 2])) > 4
