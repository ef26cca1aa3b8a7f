"""Checks of a video tokenizer's input, of memory and of a configuration's numbers: a ValueError in one line says what.

check_video(video_BCTHW); check_range(video_BCTHW); check_codes(codes_BTHW, codebook_size=1000)
check_whole("n_codes", 2048, 1, 2**24)
"""

from pathlib import Path

import torch
from torch import Tensor

# B batch, C colours (3), T frames, H/W height and width

ROUNDING = 1e-3
"""How far beyond -1 or 1 a value may lie: less than half a level of 8 bits."""


def check_video(video_BCTHW: Tensor) -> None:
    """ValueError unless it is a floating-point video of three colours."""
    if not isinstance(video_BCTHW, Tensor):
        raise ValueError(f"a video must be a torch tensor, not {type(video_BCTHW).__name__}: see torch.from_numpy")
    if video_BCTHW.ndim != 5 or video_BCTHW.shape[1] != 3:
        raise ValueError(f"a video must be (batch, 3, frames, height, width), not {tuple(video_BCTHW.shape)}")
    if not len(video_BCTHW):
        raise ValueError(f"a batch of videos of shape {tuple(video_BCTHW.shape)} holds none; one is the least")
    if not video_BCTHW.is_floating_point():
        raise ValueError(f"a video must be floating point in [-1, 1], not {video_BCTHW.dtype}: see Clip.video_CTHW")


def check_range(video_BCTHW: Tensor) -> None:
    """ValueError unless all values lie in [-1, 1]; waits for the device."""
    if not video_BCTHW.numel():
        return
    low, high = (float(value) for value in video_BCTHW.aminmax())
    if not (low >= -1 - ROUNDING and high <= 1 + ROUNDING):  # also where there is NaN
        raise ValueError(
            f"the video's values span {low:g} to {high:g}, but the tokenizer takes -1 to 1: "
            "bytes go through Clip.video_CTHW, values from 0 to 1 are to be doubled less 1"
        )


def codes_of_picture(height: int, width: int, stride: int) -> tuple[int, int]:
    """Rows and columns of codes; ValueError names the nearest sides that the stride divides."""
    for name, side in (("height", height), ("width", width)):
        if side < stride or side % stride:
            below = max(1, side // stride) * stride
            raise ValueError(
                f"{name} {side} is not a multiple of {stride}: the nearest sizes are {below} and {below + stride}"
            )
    return height // stride, width // stride


def check_codes(codes_BTHW: Tensor, codebook_size: int | None = None) -> None:
    """ValueError unless these are whole numbers in [0, codebook_size), of shape (B, T, H, W) where T alone may be 0."""
    if not isinstance(codes_BTHW, Tensor):
        raise ValueError(f"codes must be a torch tensor, not {type(codes_BTHW).__name__}: see torch.from_numpy")
    kind = codes_BTHW.dtype
    if kind == torch.bool or kind.is_floating_point or kind.is_complex:
        raise ValueError(f"codes must be whole numbers such as `encode` returns, not {kind}")
    if codes_BTHW.ndim != 4 or 0 in (len(codes_BTHW), *codes_BTHW.shape[2:]):
        raise ValueError(f"codes must be (batch, latent frames, height, width), not {tuple(codes_BTHW.shape)}")
    if codebook_size is None or not codes_BTHW.numel():
        return
    least, most = int(codes_BTHW.min()), int(codes_BTHW.max())
    if not 0 <= least <= most < codebook_size:
        raise ValueError(
            f"codes span {least} to {most}, but this tokenizer knows 0 to {codebook_size - 1}: "
            "were they made by another tokenizer?"
        )


def check_memory(needed: int | None, name: str, height: int, width: int) -> None:
    """ValueError where the pictures of a clip take more bytes than are free; where that is not known, nothing."""
    free = free_memory()
    if needed is not None and free is not None and needed > free:
        need, have = (f"{size / 2**20:,.0f} MiB" for size in (needed, free))
        raise ValueError(
            f"{name}: pictures of {width} x {height} take about {need}, and {have} are free: give a --size"
        )


def free_memory() -> int | None:
    """Bytes that this process may still take, of the machine and of a container's control group; None without Linux."""
    try:
        about = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(about["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        most, taken = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, most - taken + int(kept["inactive_file"]) + int(kept["active_file"]))
    except (OSError, KeyError, ValueError):  # no group, or one without a limit
        return free


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """ValueError unless `value` is a whole number in [least, most]: sizes are refused before memory is taken."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be a whole number")
    if not least <= value <= most:
        bound = f"{least} or more" if value < least else f"{most} or less"
        raise ValueError(f"{name} is {value}; it must be {bound}")
