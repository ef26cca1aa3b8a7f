"""Perceptual distance of frames: LPIPS with the user's files, or a distance of local contrasts without.

    distance = make_perceptual(backbone=None, heads=None)
    distance(frames_NCHW, target_NCHW)

LPIPS (Zhang et al. 2018, arXiv 1801.03924) needs a network trained on ImageNet, which is not shipped. In its place
stands `NormalizedLaplacian`, after Laparra et al. 2016 ("Perceptual image quality assessment using a normalized
Laplacian pyramid"): it weighs an error by the contrast around it, as eyes do and pixel errors do not. It has no learned
weights and works at every size; its values are not LPIPS.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

# N frames, C channels, H/W height and width

_SMALLEST_BAND = 8
"""Pixels a side below which a pyramid gets no further level."""
_VISIBLE_CONTRAST = 0.1
"""Amplitude, in a range of 2, below which contrasts hardly count."""
VGG16 = dict.fromkeys((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (1, 1))
ALEXNET = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
"""Place of a convolution in torchvision's `features` -> its stride and padding."""
_VGG16_POOLED, _VGG16_TAPS = (5, 10, 17, 24), (2, 7, 14, 21, 28)
_ALEXNET_POOLED, _ALEXNET_TAPS = (3, 6), (0, 3, 6, 8, 10)
"""Convolutions that a pooling comes before, and those whose rectified output is compared."""


def make_perceptual(backbone: str | None, heads: str | None) -> nn.Module:
    """LPIPS where its files are given, the distance of local contrasts where not; says which one it is."""
    if backbone is None or heads is None:
        found = "local contrasts (normalised Laplacian pyramid)"
        rank_zero_info(f"perceptual term: {found}, as lpips_backbone is not given")
        return NormalizedLaplacian()
    rank_zero_info(f"perceptual term: LPIPS with {backbone}")
    return LPIPS(backbone, heads)


class NormalizedLaplacian(nn.Module):
    """Mean absolute difference of the bands of a Laplacian pyramid, each divided by the amplitude around it."""

    kernel_5: Tensor

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("kernel_5", torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16, persistent=False)

    def forward(self, frames_NCHW: Tensor, target_NCHW: Tensor) -> Tensor:
        """Frames and targets (N, C, H, W) in [-1, 1] -> scalar, 0 where they are equal."""
        bands = zip(self.bands(frames_NCHW.float()), self.bands(target_NCHW.float()), strict=True)
        return torch.stack([(band - target).abs().mean() for band, target in bands]).mean()

    def bands(self, frames_NCHW: Tensor) -> list[Tensor]:
        """Contrast of each band, finest first; what remains is taken as it is."""
        bands = []
        for _ in range(self.levels):
            if min(frames_NCHW.shape[2:]) < 2 * _SMALLEST_BAND:
                break
            # Means of 2x2 lie where this interpolation looks for them; odd sides get a row more, which is cut off.
            coarse_NCHW = F.avg_pool2d(self._blur(frames_NCHW), 2, ceil_mode=True)
            height, width = frames_NCHW.shape[2:]
            fine_NCHW = F.interpolate(coarse_NCHW, scale_factor=2, mode="bilinear", align_corners=False)
            band_NCHW = frames_NCHW - fine_NCHW[..., :height, :width]
            bands.append(band_NCHW / (_VISIBLE_CONTRAST + self._blur(band_NCHW.abs())))
            frames_NCHW = coarse_NCHW
        return [*bands, frames_NCHW]

    def _blur(self, frames_NCHW: Tensor) -> Tensor:
        channels = frames_NCHW.shape[1]
        padded = F.pad(frames_NCHW, (2, 2, 2, 2), mode="replicate")
        rows = F.conv2d(padded, self.kernel_5.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
        return F.conv2d(rows, self.kernel_5.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1, on VGG-16 or AlexNet, whichever the files are of.

    `backbone` is the state dict of torchvision's network (`features.0.weight`, ...), `heads` that of the linear heads
    (`lin0.model.1.weight`, ...): .pth or .safetensors. Refuses files that hold something else or do not fit.
    """

    shift_C11: Tensor
    scale_C11: Tensor

    def __init__(self, backbone: str | Path, heads: str | Path) -> None:
        super().__init__()
        weights, lines = _tensors(Path(backbone)), _tensors(Path(heads))
        is_vgg = "features.28.weight" in weights
        self.shapes, self.pooled = (VGG16, _VGG16_POOLED) if is_vgg else (ALEXNET, _ALEXNET_POOLED)
        self.taps, self.pooling = (_VGG16_TAPS, 2) if is_vgg else (_ALEXNET_TAPS, 3)
        for index in self.shapes:
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{index}", _take(weights, f"features.{index}.{kind}", backbone), False)
        for number, tap in enumerate(self.taps):
            head_1C11 = _take(lines, f"lin{number}.model.1.weight", heads)
            channels = getattr(self, f"weight{tap}").shape[0]
            if head_1C11.shape != (1, channels, 1, 1):
                found = f"{heads}: head {number} is of shape {tuple(head_1C11.shape)}"
                raise ValueError(f"{found}, and {backbone} has {channels} channels there: give those of one network")
            self.register_buffer(f"head{number}", head_1C11, False)
        self.register_buffer("shift_C11", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), False)
        self.register_buffer("scale_C11", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), False)

    def forward(self, frames_NCHW: Tensor, target_NCHW: Tensor) -> Tensor:
        """Frames and targets (N, 3, H, W) in [-1, 1] -> mean distance, a scalar."""
        pairs = zip(self._features(frames_NCHW.float()), self._features(target_NCHW.float()), strict=True)
        distances = [
            F.conv2d((found - wanted).square(), getattr(self, f"head{number}")).mean()
            for number, (found, wanted) in enumerate(pairs)
        ]
        return torch.stack(distances).sum()

    def _features(self, frames_NCHW: Tensor) -> list[Tensor]:
        """What the taps give, each place normalised over its channels."""
        x, found = (frames_NCHW - self.shift_C11) / self.scale_C11, []
        for index, (stride, padding) in self.shapes.items():
            if index in self.pooled:
                x = F.max_pool2d(x, self.pooling, 2)
            x = F.conv2d(x, getattr(self, f"weight{index}"), getattr(self, f"bias{index}"), stride, padding).relu()
            if index in self.taps:
                found.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without running anything that may be in it."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; give the weights of the perceptual term, or leave it out")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader says of a file that is not its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: holds no plain tensors by name ({first}); give a state dict") from error


def _take(tensors: dict[str, Tensor], name: str, path: str | Path) -> Tensor:
    if name not in tensors:
        raise ValueError(f"{path}: has no tensor {name}; give torchvision's VGG-16 or AlexNet, or the heads for it")
    return tensors[name].float()
