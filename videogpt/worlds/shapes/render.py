"""Anti-aliased pictures of the shapes world: scene -> uint8 frames, about a millisecond a clip.

    frames_THWC = render(scene)                                # RGB, 17 x 64 x 64 x 3

Every shape is given by the distance of a pixel's centre to its outline; the covered part of a pixel is half a
pixel minus that distance, clamped to [0, 1]. Only a window around each object is computed. Numpy only.
"""

import math

import numpy as np
from numpy.typing import NDArray

from videogpt.worlds.shapes.scene import FRAME_SIZE, REACH, Scene, SceneObject, Track
from videogpt.worlds.world import NUM_FRAMES

# T frames, H height, W width, C colours (red, green, blue), S side of a window around an object, X (x, y)

Floats = NDArray[np.floating]

RGB = {
    "red": (240, 45, 45),
    "orange": (255, 145, 20),
    "yellow": (250, 230, 50),
    "green": (50, 190, 80),
    "blue": (60, 120, 255),
    "purple": (185, 75, 235),
    "white": (245, 245, 245),
}
"""The colours of objects: lighter than every background, so that shapes survive chroma subsampling."""
BACKGROUND_RGB = {"black": (10, 10, 10), "grey": (76, 76, 76), "navy": (14, 20, 78), "brown": (86, 50, 20)}

STAR_WAIST = 0.42
"""Distance of a star's inner corners from its centre, over that of its tips."""
_COLOUR_CHANGE_FRAMES = 6.0


def render(scene: Scene) -> NDArray[np.uint8]:
    """Paint all frames of a scene, RGB."""
    frames_THWC = np.empty((NUM_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), np.float32)
    frames_THWC[:] = BACKGROUND_RGB[scene.background]
    for one in scene.objects:
        coverage_TSS, top_T, left_T = cover(one.attributes.shape, *place(one.track))
        colours_TC, side = _colours(one), coverage_TSS.shape[1]
        for t, (top, left) in enumerate(zip(top_T, left_T, strict=True)):
            cut_SS = coverage_TSS[t, max(-top, 0) :, max(-left, 0) :]  # windows may stick out of the frame
            rows, columns = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
            target = frames_THWC[t, rows, columns]
            target += cut_SS[: target.shape[0], : target.shape[1], None] * (colours_TC[t] - target)
    return (frames_THWC + 0.5).astype(np.uint8)


def place(track: Track) -> tuple[Floats, Floats, Floats]:
    """Follow a track through all frames: the centre TX, where that of the first pixel is (0.5, 0.5), and the radius T,
    both in pixels, and the angle T, clockwise in radians."""
    times_T = np.arange(NUM_FRAMES, dtype=np.float32)
    low_X, high_X = np.array(track.region[:2]), np.array(track.region[2:])
    straight_TX = np.array(track.start) + times_T[:, None] * np.array(track.velocity) - low_X
    room_X = np.maximum(high_X - low_X, 1e-6)
    folded_TX = room_X - np.abs(straight_TX % (2 * room_X) - room_X)  # reflected at both walls
    progress_T = times_T / (NUM_FRAMES - 1)
    centre_TX = low_X + folded_TX
    radius_T = track.radius + progress_T * (track.last_radius - track.radius)
    angle_T = np.radians(track.angle + times_T * track.turn)
    return centre_TX.astype(np.float32), radius_T.astype(np.float32), angle_T.astype(np.float32)


def cover(
    shape: str, centre_TX: Floats, radius_T: Floats, angle_T: Floats, star_waist: float = STAR_WAIST
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The covered part of each pixel, TSS in [0, 1], in windows that just hold the shape; their top T and left T."""
    reach = REACH[shape] * float(radius_T.max())
    side = 2 * math.ceil(reach + 1) + 1
    corner_TX = np.floor(centre_TX).astype(np.int64) - side // 2
    offsets_S = np.arange(side, dtype=np.float32) + 0.5
    x_TS = corner_TX[:, :1] + offsets_S - centre_TX[:, :1]
    y_TS = corner_TX[:, 1:] + offsets_S - centre_TX[:, 1:]
    cos_T11, sin_T11 = (f(angle_T)[:, None, None] for f in (np.cos, np.sin))
    x_TSS = cos_T11 * x_TS[:, None, :] + sin_T11 * y_TS[:, :, None]
    y_TSS = cos_T11 * y_TS[:, :, None] - sin_T11 * x_TS[:, None, :]
    distance_TSS = _outline(shape, x_TSS, y_TSS, REACH[shape] * radius_T[:, None, None], star_waist)
    return np.clip(0.5 - distance_TSS, 0, 1).astype(np.float32), corner_TX[:, 1], corner_TX[:, 0]


def _outline(shape: str, x: Floats, y: Floats, reach: Floats, star_waist: float) -> Floats:
    """Signed distance to the outline of an upright shape around (0, 0): negative inside, exact on edges."""
    if shape == "circle":
        return np.sqrt(x * x + y * y) - reach
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - reach * math.sqrt(0.5)
    if shape == "triangle":
        return np.maximum(np.abs(x) * math.cos(math.pi / 6) - y * 0.5, y) - reach * 0.5
    # Fold the plane onto one half of one point of the star, then measure to that single edge. The mirrors are those of
    # Inigo Quilez, "2D distance functions" (iquilezles.org/articles/distfunctions2d).
    cos, sin = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x, up = np.abs(x), -y
    for normal_x, normal_y in ((cos, -sin), (-cos, -sin)):
        outside = np.maximum(normal_x * x + normal_y * up, 0)
        x, up = x - 2 * outside * normal_x, up - 2 * outside * normal_y
    x = np.abs(x)
    edge_x, edge_y = star_waist * sin, star_waist * cos - 1  # tip to inner corner, in tip radii
    length = math.hypot(edge_x, edge_y)
    return ((up - reach) * edge_x - x * edge_y) / length


def _colours(one: SceneObject) -> Floats:
    """The object's colour in every frame, TC."""
    first_C, last_C = (np.array(RGB[one.attributes.colours[end]], np.float32) for end in (0, -1))
    times_T1 = np.arange(NUM_FRAMES, dtype=np.float32)[:, None]
    mix_T1 = np.clip((times_T1 - one.track.colour_change) / _COLOUR_CHANGE_FRAMES + 0.5, 0, 1)
    return first_C + mix_T1 * (last_C - first_C)
