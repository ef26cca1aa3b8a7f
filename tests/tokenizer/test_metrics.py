"""Metrics and losses against their definitions."""

import math

import pytest
import torch

from videogpt_tokenizer import metrics
from videogpt_tokenizer.metrics import codebook_use, decibels, psnr, ssim
from videogpt_tokenizer.training.losses import LossConfig, reconstruction_loss


def test_psnr_of_a_known_error():
    target = torch.zeros(2, 3, 5, 16, 16)
    video = target.clone()
    video[0] += 0.2
    values = psnr(video, target)
    assert values[0].item() == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-4)
    assert values[1].item() == pytest.approx(100)
    assert decibels(0.04) == pytest.approx(20) and decibels(0) == decibels(1e-12) == pytest.approx(100)
    assert math.isnan(decibels(math.nan))


def test_ssim_is_one_for_equals_and_falls_with_noise():
    torch.manual_seed(0)
    target = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    noisy = torch.stack([target[0], (target[1] + 0.3 * torch.randn_like(target[1])).clamp(-1, 1)])
    values = ssim(noisy, target)
    assert values.shape == (2,)
    assert values[0].item() == pytest.approx(1.0) and values[1].item() < 0.9


def test_ssim_of_two_greys_is_what_its_formula_says():
    """Without contrast only the term of brightness is left, of values in [0, 1]: Wang et al., 2004, K1 = 0.01."""
    grey, other = (torch.full((1, 3, 1, 16, 16), 2 * value - 1) for value in (0.475, 0.55))
    expected = (2 * 0.475 * 0.55 + 0.01**2) / (0.475**2 + 0.55**2 + 0.01**2)
    assert ssim(grey, other).item() == pytest.approx(expected, abs=5e-4)


def test_ssim_of_a_clip_is_the_mean_of_its_frames():
    video, target = (torch.rand(2, 3, 4, 16, 16) * 2 - 1 for _ in range(2))
    alone = [ssim(*(clips[:, :, t : t + 1] for clips in (video, target))) for t in range(4)]
    assert ssim(video, target).equal(torch.stack(alone, dim=1).mean(dim=1))


@pytest.mark.parametrize("size", [(11, 11), (11, 300), (13, 12), (64, 64), (97, 40), (192, 176)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "flat", "black and white"])
def test_ssim_is_that_of_torchmetrics_in_double_precision(size, kind):
    """In single precision theirs is off by some 5e-6, and where pictures are flat by 1e-4."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    def pictures() -> torch.Tensor:
        noise = torch.rand(1, 3, 2, *size)
        if kind == "smooth":
            return torch.nn.functional.interpolate(noise[..., :3, :3], size=(2, *size), mode="trilinear") * 2 - 1
        return {"noise": noise, "flat": 0 * noise + noise.mean(), "black and white": noise.round()}[kind] * 2 - 1

    video = pictures()
    for target in (pictures(), (video + 0.1 * torch.randn_like(video)).clamp(-1, 1), video):
        exact = structural_similarity_index_measure(
            *(x[0].transpose(0, 1).double() / 2 + 0.5 for x in (video, target)), data_range=1.0
        )
        assert ssim(video, target).item() == pytest.approx(float(exact), abs=2e-6)


def test_ssim_of_large_pictures_goes_in_pieces(monkeypatch):
    video, target = (torch.rand(2, 3, 5, 16, 16) * 2 - 1 for _ in range(2))
    whole = ssim(video, target)
    for pixels in (1, 3 * 256):
        monkeypatch.setattr(metrics, "PIXELS_AT_ONCE", pixels)
        torch.testing.assert_close(ssim(video, target), whole)


def test_codebook_use_of_known_counts():
    use = codebook_use(torch.tensor([5, 5, 5, 5, 0, 0, 0, 0]))
    assert use.share == 0.5 and use.perplexity == pytest.approx(4.0)
    assert codebook_use(torch.tensor([7, 0])).perplexity == pytest.approx(1.0)


def test_loss_terms_are_what_their_names_say():
    torch.manual_seed(0)
    video, target = torch.rand(2, 3, 5, 8, 8), torch.rand(2, 3, 5, 8, 8)
    losses = reconstruction_loss(video, target, LossConfig(l1=1, l2=2, coarse=3, temporal=4))
    difference = video - target
    coarse = difference.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean(dim=(-1, -3))
    expected = {
        "l1": difference.abs().mean(),
        "l2": difference.square().mean(),
        "coarse": coarse.abs().mean(),
        "temporal": (difference[:, :, 1:] - difference[:, :, :-1]).abs().mean(),
    }
    assert set(losses.terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses.terms[name], value)
    total = expected["l1"] + 2 * expected["l2"] + 3 * expected["coarse"] + 4 * expected["temporal"]
    torch.testing.assert_close(losses.total, total)


def test_an_image_has_no_temporal_term():
    losses = reconstruction_loss(torch.zeros(1, 3, 1, 8, 8), torch.ones(1, 3, 1, 8, 8), LossConfig())
    assert "temporal" not in losses.terms and losses.total.isfinite()
