"""Read a clip of the shapes world back into attributes, from its pixels alone.

    looks, background = check(frames_THWC)        # uint8, RGB
    agreement(looks, background, scene)           # {"count": True, "shape": True, "colour": False, ...}

Works by synthesis: every object found is painted again as each shape at each angle, where and as large as it
was seen, and what explains its pixels best is what it is. So it needs no trained network. Pictures that a
tokenizer has blurred are read about as well as sharp ones: shapes are painted blurred, too, and the frames that
show corners count most. No torch: numpy and scipy.ndimage.

A clip that shows what no scene can is read as such, in words of its own such as "unclear", "circle, then square",
"moves left and spins" or "comes and goes", and so agrees with no scene.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from scipy import ndimage

from videogpt.worlds.shapes.render import BACKGROUND_RGB, RGB, STAR_WAIST, Floats, cover
from videogpt.worlds.shapes.scene import RADII, SHAPES, STRAIGHT_MOTIONS, Attributes, Scene

# T frames, H height, W width, C colours, X (x, y), K angles, R turning rates, S side of a window

Bools = NDArray[np.bool_]

_CONTRAST = 40.0  # distance in RGB from the background at which a pixel belongs to an object
_SPECK = 12.0  # pixels; smaller things are not objects
_LEAST_FRAMES = 3  # shorter flashes are not objects either
_PRESENT = 0.85  # part of the frames in which an object must be seen
_UNLIKE = 0.12  # squared error over squared coverage at which a thing is none of the shapes
_DECISIVE = 0.8  # error over error at which a clip begins or ends with another shape
_FLICKER = 3  # frames of a colour that does not belong
_START, _END = slice(None, 3), slice(-3, None)  # frames that tell colour and growth
_GROWTH = 1.25  # ratio of radii
_MOVED = 4.0  # pixels that a centre ranges over when it moves
_SWAY = 2.5  # pixels that it may range over across its direction
_DETOUR = 1.12  # path over range of a centre that has turned back
_TURNED = 3.0  # degrees per frame
_SYMMETRY = {"circle": 360.0, "square": 90.0, "triangle": 120.0, "star": 72.0}  # degrees: then it looks the same
_ANGLES = 9  # tried per symmetry
_RATES = np.arange(-12.0, 13.0, 2.0)  # degrees per frame tried
_BLURS = (0.0, 1.2)  # pixels, standard deviations tried
_MARGIN = 3  # pixels around a shape that blur reaches
_STAR_WAISTS = (STAR_WAIST, 0.57)  # tried: tokenizers fill the notches of stars
_NEIGHBOURS = 5  # frames that a frame's corners are compared with, itself included
_KEENNESS = 3.0  # power by which frames with fewer corners count less


def check(frames_THWC: NDArray[np.uint8]) -> tuple[list[Attributes], str]:
    """Read a clip of at least 6 frames: its objects, in no particular order, and its background.

    ValueError: the frames are of another type or shape.
    """
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3:
        raise ValueError(f"frames are {frames_THWC.dtype} {frames_THWC.shape}; the checker reads uint8 (T, H, W, 3)")
    if len(frames_THWC) < 6:
        raise ValueError(f"clip has {len(frames_THWC)} frames; the checker needs at least 6 to see motion")
    background_C = _background(frames_THWC)
    blobs = _find_blobs(frames_THWC.astype(np.float32), background_C)
    return [_read_object(*blob, background_C) for blob in blobs], _nearest(background_C, BACKGROUND_RGB)


def agreement(looks: Sequence[Attributes], background: str, scene: Scene) -> dict[str, bool]:
    """Which attributes of a scene are read right, over all its objects, which match as a set.

    With a wrong count, none but the background can be right.
    """
    wanted = [one.attributes for one in scene.objects]
    behind = {"background": background == scene.background}
    if len(looks) != len(wanted):
        return dict.fromkeys(("count", "shape", "colour", "size", "motion"), False) | behind
    pairings = [list(zip(looks, order, strict=True)) for order in permutations(wanted)]
    return max((_compare(pairs) for pairs in pairings), key=lambda right: sum(right.values())) | behind


def _compare(pairs: list[tuple[Attributes, Attributes]]) -> dict[str, bool]:
    return {
        "count": True,
        "shape": all(seen.shape == wanted.shape for seen, wanted in pairs),
        "colour": all(seen.colours == wanted.colours for seen, wanted in pairs),  # both, when one changes
        "size": all(wanted.size in (None, seen.size) for seen, wanted in pairs),
        "motion": all(seen.motion == wanted.motion for seen, wanted in pairs),
    }


def _background(frames_THWC: NDArray[np.uint8]) -> Floats:
    """The usual colour of the frame's rim, which objects leave free. RGB."""
    rim_HW = np.ones(frames_THWC.shape[1:3], bool)
    rim_HW[2:-2, 2:-2] = False
    return np.median(frames_THWC[:, rim_HW].reshape(-1, 3), axis=0)


def _nearest(colour_C: Floats, names: dict[str, tuple[int, int, int]]) -> str:
    return min(names, key=lambda name: float(np.linalg.norm(colour_C - np.array(names[name]))))


def _find_blobs(frames_THWC: Floats, background_C: Floats) -> Iterator[tuple[Floats, Floats, float]]:
    """Connected things in space and time, less specks and short flashes.

    Yields what `_measure` finds in the frames that show the thing, and which part of the clip they are.
    """
    offset_THWC = frames_THWC - background_C
    contrast_THW = np.linalg.norm(offset_THWC, axis=-1)
    label_THW = np.zeros(contrast_THW.shape, np.int32)
    ndimage.label(contrast_THW > _CONTRAST, structure=np.ones((3, 3, 3)), output=label_THW)
    for label in range(1, label_THW.max() + 1):
        own_THW = label_THW == label
        seen_T = own_THW.sum((1, 2)) >= _SPECK
        if seen_T.sum() >= _LEAST_FRAMES:
            others_THW = (label_THW != 0) & ~own_THW
            yield *_measure(offset_THWC[seen_T], own_THW[seen_T], others_THW[seen_T]), float(seen_T.mean())


def _measure(offset_THWC: Floats, own_THW: Bools, others_THW: Bools) -> tuple[Floats, Floats]:
    """Coverage THW, the share (0 to 1) of the blob's colour in each pixel, and that colour TC, less the background's,
    from its best covered quarter."""
    near_THW = np.empty_like(own_THW)
    ndimage.binary_dilation(own_THW, structure=np.ones((1, 3, 3)), mask=~others_THW, output=near_THW)
    alpha_THW, colour_TC = np.zeros(own_THW.shape), np.zeros((len(own_THW), 3))
    for t, own_HW in enumerate(own_THW):
        offset_NC = offset_THWC[t][own_HW]
        contrast_N = np.linalg.norm(offset_NC, axis=-1)
        colour_C = np.median(offset_NC[contrast_N >= np.quantile(contrast_N, 0.75)], axis=0)
        share_HW = offset_THWC[t] @ colour_C / (colour_C @ colour_C)
        alpha_THW[t] = np.where(near_THW[t], np.clip(share_HW, 0, 1), 0)
        colour_TC[t] = colour_C
    return alpha_THW, colour_TC


def _read_object(alpha_THW: Floats, colour_TC: Floats, present: float, background_C: Floats) -> Attributes:
    area_T = alpha_THW.sum((1, 2))
    rows_H, columns_W = (np.arange(side) + 0.5 for side in alpha_THW.shape[1:])
    centre_TX = np.stack([alpha_THW.sum(1) @ columns_W, alpha_THW.sum(2) @ rows_H], axis=1) / area_T[:, None]
    weight_T = _weights(alpha_THW, centre_TX, area_T)
    error_T_of, turn_of = {}, {}
    for shape in SHAPES:
        error_T_of[shape], turn_of[shape] = _fit(shape, alpha_THW, centre_TX, area_T, weight_T)
    likeliest = min(SHAPES, key=lambda name: float(error_T_of[name] @ weight_T))
    colours_T = [_nearest(colour_C, RGB) for colour_C in colour_TC + background_C]
    first, last = (_nearest(colour_TC[part].mean(0) + background_C, RGB) for part in (_START, _END))
    radius_T = np.sqrt(area_T / _unit_area(likeliest))
    growth = radius_T[_END].mean() / radius_T[_START].mean()
    signs = {
        "grows": growth > _GROWTH,
        "shrinks": growth < 1 / _GROWTH,
        "changes colour": first != last,
        "flickers": first == last and sum(colour != first for colour in colours_T) >= _FLICKER,
        "spins": abs(turn_of[likeliest]) >= _TURNED,
        "comes and goes": present < _PRESENT,
        _path(centre_TX): True,
    }
    motions = [name for name, seen in signs.items() if seen and name != "stays still"]
    resized = signs["grows"] or signs["shrinks"]
    return Attributes(
        shape=_shape(error_T_of, likeliest, alpha_THW, weight_T),
        colour=first,
        motion=" and ".join(motions) or "stays still",
        size=None if resized else min(RADII, key=lambda name: abs(np.log(radius_T.mean() / RADII[name]))),
        second_colour=last if first != last else None,
    )


def _shape(error_T_of: dict[str, Floats], likeliest: str, alpha_THW: Floats, weight_T: Floats) -> str:
    """The likeliest shape, unless the clip begins or ends with another or it is unlike the pixels."""
    third = len(alpha_THW) // 3 + 1
    ends = []
    for part in (slice(None, third), slice(-third, None)):
        error = {name: float(error_T[part] @ weight_T[part]) for name, error_T in error_T_of.items()}
        best = min(error, key=lambda name: error[name])
        ends.append(best if error[best] < _DECISIVE * error[likeliest] else likeliest)
    if ends[0] != ends[1]:
        return f"{ends[0]}, then {ends[1]}"
    return "unclear" if error_T_of[likeliest].sum() > _UNLIKE * (alpha_THW**2).sum() else likeliest


def _path(centre_TX: Floats) -> str:
    """The name of the way that a centre takes."""
    range_X = np.ptp(centre_TX, axis=0)
    if (range_X < _MOVED).all():
        return "stays still"
    detour_X = np.abs(np.diff(centre_TX, axis=0)).sum(0) / np.maximum(range_X, _MOVED)
    if (range_X >= _MOVED).all():
        return "bounces" if detour_X.max() > _DETOUR else "moves diagonally"
    if range_X.min() > _SWAY or detour_X.max() > _DETOUR:
        return "wanders"
    net_X = centre_TX[-1] - centre_TX[0]
    return max(STRAIGHT_MOTIONS, key=lambda name: float(net_X @ np.array(STRAIGHT_MOTIONS[name])))


@lru_cache
def _unit_area(shape: str) -> float:
    """Area of a shape of radius 1."""
    coverage_TSS, _, _ = cover(shape, np.zeros((1, 2)), np.full(1, 20.0), np.zeros(1))
    return float(coverage_TSS.sum()) / 20.0**2


def _weights(alpha_THW: Floats, centre_TX: Floats, area_T: Floats) -> Floats:
    """How well a frame shows what shape it holds, compared with the frames around it, 0 to 1.

    Blur takes corners away and adds none, so the frames that are least like a disc are seen best.
    """
    radius_T = np.sqrt(area_T / _unit_area("circle"))
    error_T1 = _errors("circle", alpha_THW, centre_TX, radius_T, np.zeros(1))
    corners_T = np.maximum(error_T1[:, 0], 1e-3) / (alpha_THW**2).sum((1, 2))
    return (corners_T / ndimage.maximum_filter1d(corners_T, _NEIGHBOURS)) ** _KEENNESS


def _fit(shape: str, alpha_THW: Floats, centre_TX: Floats, area_T: Floats, weight_T: Floats) -> tuple[Floats, float]:
    """Paint the shape at every angle over every frame, then find the steady turn with the least error.

    Returns the squared difference of coverage in each frame, summed over its pixels, and degrees per frame.
    """
    symmetry = _SYMMETRY[shape]
    angle_K = np.zeros(1) if shape == "circle" else np.arange(_ANGLES) * symmetry / _ANGLES
    error_TK = _errors(shape, alpha_THW, centre_TX, np.sqrt(area_T / _unit_area(shape)), np.radians(angle_K))
    rates_R = np.zeros(1) if shape == "circle" else _RATES
    turned_TR = np.arange(len(area_T))[:, None] * rates_R
    steps_TRK = np.rint((turned_TR[..., None] + angle_K) / symmetry * len(angle_K)).astype(int) % len(angle_K)
    error_TRK = np.take_along_axis(error_TK[:, None], steps_TRK, axis=2)
    total_RK = np.tensordot(weight_T, error_TRK, axes=1)
    rate, angle = np.unravel_index(total_RK.argmin(), total_RK.shape)
    return error_TRK[:, rate, angle], float(rates_R[rate])


def _errors(shape: str, alpha_THW: Floats, centre_TX: Floats, radius_T: Floats, angle_K: Floats) -> Floats:
    """Squared difference of every frame from the shape at every angle, TK, at the blur that suits it best."""
    differences = []
    for waist in _STAR_WAISTS if shape == "star" else (STAR_WAIST,):
        same_area_T = radius_T * np.sqrt(STAR_WAIST / waist)
        differences += _differences(shape, waist, alpha_THW, centre_TX, same_area_T, angle_K)
    return (alpha_THW**2).sum((1, 2))[:, None] + np.min(differences, axis=0)


def _differences(
    shape: str, waist: float, alpha_THW: Floats, centre_TX: Floats, radius_T: Floats, angle_K: Floats
) -> list[Floats]:
    """b^2 - 2 a b for pixels a and painted shape b, TK, at each blur."""
    frames, angles = len(alpha_THW), len(angle_K)
    repeated = np.repeat(centre_TX, angles, axis=0), np.repeat(radius_T, angles), np.tile(angle_K, frames)
    coverage_NSS, top_N, left_N = cover(shape, *(values.astype(np.float32) for values in repeated), star_waist=waist)
    sharp_NSS = np.pad(coverage_NSS, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    side = sharp_NSS.shape[1]
    padded_THW = np.pad(np.float32(alpha_THW), ((0, 0), (side, side), (side, side)))  # windows may stick out
    rows_TS = top_N[::angles, None] + side - _MARGIN + np.arange(side)
    columns_TS = left_N[::angles, None] + side - _MARGIN + np.arange(side)
    seen_TSS = padded_THW[np.arange(frames)[:, None, None], rows_TS[:, :, None], columns_TS[:, None, :]]
    differences = []
    for sigma in _BLURS:
        painted_NSS = ndimage.gaussian_filter(sharp_NSS, (0, sigma, sigma), truncate=2) if sigma else sharp_NSS
        painted_TKSS = rearrange(painted_NSS, "(t k) a b -> t k a b", t=frames)
        overlap_TK = np.einsum("tkab,tab->tk", painted_TKSS, seen_TSS)
        differences.append(np.einsum("tkab,tkab->tk", painted_TKSS, painted_TKSS) - 2 * overlap_TK)
    return differences
