"""The perceptual term: LPIPS as it is published, and the distance of local contrasts that stands in for it."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from videogpt_tokenizer.training.losses import LossConfig, reconstruction_loss
from videogpt_tokenizer.training.perceptual import ALEXNET, LPIPS, VGG16, NormalizedLaplacian, make_perceptual


def test_local_contrast_tells_blur_from_a_shift_of_brightness() -> None:
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 32, 32) * 2 - 1, scale_factor=2) * 0.5
    blurred = F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)
    brighter = picture + (blurred - picture).square().mean().sqrt()  # the same squared error
    distance = NormalizedLaplacian()
    assert distance(picture, picture) == 0
    assert distance(blurred, picture) > 1.5 * distance(brighter, picture)


@pytest.mark.parametrize("size", [(64, 64), (45, 51)])
def test_a_ramp_has_no_contrast(size: tuple[int, int]) -> None:
    """Away from the border, in every band."""
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    ramp = ((rows[:, None] + columns) / 2).expand(1, 3, *size)
    for band in NormalizedLaplacian(levels=2).bands(ramp)[:2]:
        assert band[..., 8:-8, 8:-8].abs().max() < 1e-5


@pytest.mark.parametrize("size", [(5, 7), (16, 16), (33, 64)])
def test_local_contrast_at_every_size(size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, *size, requires_grad=True)
    NormalizedLaplacian()(frames, torch.rand(2, 3, *size)).backward()
    assert frames.grad is not None and frames.grad.isfinite().all() and frames.grad.abs().sum() > 0


def network(kind: dict[int, tuple[int, int]]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random weights in torchvision's layout, narrow, and heads for them."""
    generator = torch.Generator().manual_seed(0)
    sides = {0: 11, 3: 5} if kind is ALEXNET else {}
    weights, channels = {}, 3
    for index in kind:
        side, wider = sides.get(index, 3), 4 + index % 3
        weights[f"features.{index}.weight"] = torch.randn(wider, channels, side, side, generator=generator) / 5
        weights[f"features.{index}.bias"] = torch.randn(wider, generator=generator) / 5
        channels = wider
    taps = (0, 3, 6, 8, 10) if kind is ALEXNET else (2, 7, 14, 21, 28)
    heads = {
        f"lin{number}.model.1.weight": torch.rand(1, 4 + tap % 3, 1, 1, generator=generator)
        for number, tap in enumerate(taps)
    }
    return weights, heads


@pytest.mark.parametrize("kind", [VGG16, ALEXNET], ids=["vgg", "alex"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_lpips_is_the_published_formula(kind: dict, suffix: str, tmp_path: Path) -> None:
    weights, heads = network(kind)
    for name, tensors in (("backbone", weights), ("heads", heads)):
        path = tmp_path / f"{name}.{suffix}"
        torch.save(tensors, path) if suffix == "pth" else save_file(tensors, path)
    distance = LPIPS(tmp_path / f"backbone.{suffix}", tmp_path / f"heads.{suffix}")
    first, second = torch.rand(2, 2, 3, 64, 64).mul(2).sub(1).unbind()

    def features(x: torch.Tensor) -> list[torch.Tensor]:
        """As torchvision's `features` runs, layer by layer."""
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        x = (x / 2 + 0.5 - mean) / std
        found = []
        layers = "CPCPCCC" if kind is ALEXNET else "CCPCCPCCCPCCCPCCC"
        convolutions = iter(kind)
        for layer in layers:
            if layer == "P":
                x = F.max_pool2d(x, *((3, 2) if kind is ALEXNET else (2, 2)))
                continue
            index = next(convolutions)
            stride, padding = {0: (4, 2), 3: (1, 2)}.get(index, (1, 1)) if kind is ALEXNET else (1, 1)
            x = F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], stride, padding)
            x = x.clamp(min=0)
            if kind is ALEXNET or index in (2, 7, 14, 21, 28):
                found.append(F.normalize(x, dim=1))
        return found

    wanted = sum(
        ((a - b) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(dim=1).mean()
        for i, (a, b) in enumerate(zip(features(first), features(second), strict=True))
    )
    # LPIPS rounds torchvision's mean and deviation to three digits in a range of 2.
    assert torch.isclose(distance(first, second), wanted, rtol=2e-2)
    assert distance(first, first) == 0
    assert not list(distance.parameters()) and not distance.state_dict(), "neither trained nor saved"


def test_lpips_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    weights, heads = network(VGG16)
    _, others = network(ALEXNET)
    for name, tensors in (("backbone", weights), ("heads", heads), ("others", others)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    torch.save({"x": Path("run me")}, tmp_path / "evil.pth")
    for backbone, heads_file, said in (
        ("backbone.safetensors", "none.pth", "there is no such file"),
        ("backbone.safetensors", "others.safetensors", "give those of one network"),
        ("heads.safetensors", "heads.safetensors", "has no tensor features.0.weight"),
        ("evil.pth", "heads.safetensors", "holds no plain tensors by name"),
    ):
        with pytest.raises(ValueError, match=said):
            LPIPS(tmp_path / backbone, tmp_path / heads_file)
    with pytest.raises(ValueError, match="belong together"):
        LossConfig(lpips_backbone="vgg.pth")


def test_which_distance_it_is_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert isinstance(make_perceptual(None, None), NormalizedLaplacian)
    assert "local contrasts" in caplog.text and "lpips_backbone is not given" in caplog.text


def test_perceptual_term_is_that_of_the_frames() -> None:
    video, target = (torch.rand(2, 3, 3, 32, 32) for _ in range(2))
    config = LossConfig(l1=0, l2=0, coarse=0, temporal=0, perceptual=2.0, perceptual_frames=9)
    found = reconstruction_loss(video, target, config, NormalizedLaplacian())
    frames = (x.transpose(1, 2).flatten(0, 1) for x in (video, target))
    assert torch.isclose(found.total, 2 * NormalizedLaplacian()(*frames))
