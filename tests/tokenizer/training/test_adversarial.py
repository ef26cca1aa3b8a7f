"""The adversary: who learns from which term, when, and what its discriminators see."""

from collections.abc import Callable

import pytest
import torch

from videogpt_tokenizer.training.adversarial import AdversarialConfig, Adversary, PatchDiscriminator


def small_adversary(**settings: float) -> Adversary:
    return Adversary(AdversarialConfig(**{"start_step": 0, "ramp_steps": 0, "width": 8, "depth": 2, **settings}))


def reconstructed(frames: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A video that a weight makes of its target, the target, and the weight."""
    weight, target = torch.eye(3).add(0.1).requires_grad_(), torch.rand(2, 3, frames, 32, 32) * 2 - 1
    return torch.einsum("dc,bcthw->bdthw", weight, target), target, weight


@pytest.mark.parametrize("frames", [5, 1])
def test_each_side_learns_from_its_own_term_alone(frames: int) -> None:
    """An image has no motion to judge."""
    adversary, (video, target, weight) = small_adversary(), reconstructed(frames)
    losses = adversary(video, target, step=0, reconstruction=(video - target).abs().mean(), last_weight=weight)
    (from_generator,) = torch.autograd.grad(losses.generator, weight, retain_graph=True)
    assert from_generator.norm() > 0
    parameters = list(adversary.parameters())
    unused = torch.autograd.grad(losses.generator, parameters, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in unused)
    losses.discriminator.backward()
    assert weight.grad is None and ("told_motion" in losses.terms) == (frames > 1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


def test_the_adaptive_weight_makes_both_gradients_alike() -> None:
    adversary, (video, target, weight) = small_adversary(weight=1.0, most_adaptive=1e9), reconstructed()
    reconstruction = (video - target).abs().mean()
    losses = adversary(video, target, step=0, reconstruction=reconstruction, last_weight=weight)
    norms = [torch.autograd.grad(x, weight, retain_graph=True)[0].norm() for x in (reconstruction, losses.generator)]
    assert torch.isclose(norms[0], norms[1], rtol=1e-2)


@pytest.mark.parametrize("step, share", [(9, 0.0), (10, 0.25), (11, 0.5), (13, 1.0), (99, 1.0)])
def test_start_and_ramp(step: int, share: float) -> None:
    adversary = small_adversary(weight=1.0, start_step=10, ramp_steps=4, most_adaptive=2.0)
    video, target, weight = reconstructed()
    given = {"reconstruction": (video * 9).square().mean(), "last_weight": weight}
    torch.manual_seed(1)
    found = adversary(video, target, step=step, **given)
    torch.manual_seed(1)
    whole = adversary(video, target, step=1000, **given)
    assert torch.isclose(found.generator, share * whole.generator)
    found.discriminator.backward()
    assert all(p.grad is not None for p in adversary.parameters()), "distributed training waits for every gradient"


def test_a_discriminator_learns_to_tell_noise_and_lecam_follows(waves: Callable[[int], torch.Tensor]) -> None:
    adversary = small_adversary()
    optimizer = torch.optim.Adam(adversary.parameters(), lr=3e-3)
    weight = torch.eye(3).requires_grad_()
    for step in range(60):
        target = torch.stack([waves(i) for i in range(4)])
        video = torch.einsum("dc,bcthw->bdthw", weight, target + 0.3 * torch.randn_like(target))
        losses = adversary(video, target, step=step, reconstruction=video.mean(), last_weight=weight)
        optimizer.zero_grad()
        losses.discriminator.backward()
        optimizer.step()
    assert losses.terms["told_frames"] > 0.9 and losses.terms["told_motion"] > 0.9
    assert adversary.frames.real_average > 0 > adversary.frames.fake_average


def without_norms(depth: int, reach: int) -> PatchDiscriminator:
    """Norms see the whole picture."""
    discriminator = PatchDiscriminator(8, depth, reach)
    others = (layer for layer in discriminator.layers if not isinstance(layer, torch.nn.GroupNorm))
    discriminator.layers = torch.nn.Sequential(*others)
    return discriminator


def test_the_discriminator_of_frames_sees_no_other_frame() -> None:
    video = torch.rand(1, 3, 5, 32, 32)
    changed = video.clone()
    changed[:, :, 4] = 0
    for reach, same in ((1, True), (3, False)):
        discriminator = without_norms(2, reach)
        assert discriminator(video)[:, :, 3].equal(discriminator(changed)[:, :, 3]) == same


@pytest.mark.parametrize(
    "wrong", [{"width": 12}, {"width": 4}, {"weight": -1.0}, {"frames": 0}, {"lecam": float("nan")}]
)
def test_adversarial_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"adversarial {next(iter(wrong))} is"):
        AdversarialConfig(**wrong)


def test_too_many_layers_for_the_picture_are_refused_at_the_first_step() -> None:
    adversary = small_adversary(start_step=99, depth=6)
    video = torch.zeros(1, 3, 5, 32, 32)
    with pytest.raises(ValueError, match="depth 6 halves 32 pixels too often; it must be 5 or less"):
        adversary(video, video, step=0, reconstruction=torch.zeros(()), last_weight=torch.zeros(1))


@pytest.mark.parametrize("depth, side", [(2, 18), (3, 38), (4, 78)])
def test_a_logit_sees_what_the_help_says(depth: int, side: int) -> None:
    x = torch.randn(1, 3, 1, 128, 128, requires_grad=True)
    logits = without_norms(depth, reach=1)(x)
    (gradient,) = torch.autograd.grad(logits[0, 0, 0, logits.shape[3] // 2, logits.shape[4] // 2], x)
    assert (gradient[0, 0, 0].abs().sum(dim=0) > 0).sum() == side
