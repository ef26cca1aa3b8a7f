"""Adversarial term of the tokenizer's training: discriminators of frames and of motion.

    adversary = Adversary(AdversarialConfig(weight=0.1))
    losses = adversary(video, target, step=step, reconstruction=loss, last_weight=decoder_weight)
    (loss + losses.generator + losses.discriminator).backward()

Both sides learn from one backward pass and one optimizer step: the generator's term sees a discriminator whose weights
are constants, the discriminator's a video that is one. Hinge losses (Lim & Ye 2017), patches (Isola et al. 2017), the
weight balanced by gradients as in VQGAN (Esser et al. 2021), LeCam regularisation (Tseng et al. 2021).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, distributed, nn
from torch.func import functional_call

from videogpt_tokenizer.training.losses import draw_frames

# B batch, C channels, T frames, H/W height and width


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """The discriminators, and how much they count."""

    weight: float = 0.1
    """Weight of the generator's term, times the adaptive weight."""
    start_step: int = 2000
    """Steps before which there is no adversarial term: reconstruction has to settle first."""
    ramp_steps: int = 1000
    """Steps over which the generator's term then rises from zero."""
    learning_rate: float = 4e-4
    """Peak learning rate of the discriminators; the schedule is the tokenizer's."""
    lecam: float = 0.01
    """Weight of LeCam regularisation, which keeps discriminators from winning on little data."""
    width: int = 32
    """Channels of the discriminators' first layer."""
    depth: int = 3
    """Layers that halve the picture: one logit sees patches of 18, 38, 78 pixels a side with 2, 3, 4, and of the rest
    of the picture the means that normalise it."""
    frames: int = 4
    """Frames drawn from every clip for the discriminator of frames."""
    most_adaptive: float = 100.0
    """Limit of the adaptive weight."""

    def __post_init__(self) -> None:
        for name in ("weight", "learning_rate", "lecam", "most_adaptive"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"adversarial {name} is {getattr(self, name)}; it must be 0 or more")
        for name, least in (("start_step", 0), ("ramp_steps", 0), ("width", 8), ("depth", 1), ("frames", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"adversarial {name} is {getattr(self, name)}; it must be {least} or more")
        if self.width % 8:
            raise ValueError(f"adversarial width is {self.width}; it must be a multiple of 8")


class _AdversarialLosses(NamedTuple):
    """What to add to the loss, and what to log."""

    generator: Tensor
    """Weighted; gradients for the tokenizer alone."""
    discriminator: Tensor
    """Gradients for the discriminators alone."""
    terms: dict[str, Tensor]


class PatchDiscriminator(nn.Module):
    """Real or reconstructed, patch by patch: (B, 3, T, H, W) -> logits (B, 1, T', H', W').

    With `reach` 1 it sees single frames, with 3 it sees how neighbouring frames go together.
    """

    def __init__(self, width: int, depth: int, reach: int) -> None:
        super().__init__()
        pad = (reach // 2, 1, 1)
        layers: list[nn.Module] = [nn.Conv3d(3, width, (reach, 4, 4), (1, 2, 2), pad), nn.LeakyReLU(0.2)]
        widths = [width * min(2**level, 8) for level in range(depth)]
        for before, channels in pairwise(widths):
            conv = nn.Conv3d(before, channels, (reach, 4, 4), (1, 2, 2), pad, bias=False)
            layers += [conv, nn.GroupNorm(8, channels), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv3d(widths[-1], 1, (1, 3, 3), padding=(0, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, video_BCTHW: Tensor) -> Tensor:
        return self.layers(video_BCTHW)


class _Side(nn.Module):
    """One discriminator and the averages of its logits that LeCam needs."""

    real_average: Tensor
    fake_average: Tensor

    def __init__(self, discriminator: PatchDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.register_buffer("real_average", torch.zeros(()))
        self.register_buffer("fake_average", torch.zeros(()))

    def generator_loss(self, video_BCTHW: Tensor) -> Tensor:
        """High where the discriminator, whose weights get no gradient, sees a reconstruction."""
        constants = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        return -functional_call(self.discriminator, constants, (video_BCTHW,)).float().mean()

    def discriminator_loss(self, video_BCTHW: Tensor, target_BCTHW: Tensor, lecam: float) -> tuple[Tensor, Tensor]:
        """Hinge loss with LeCam regularisation, and the share of patches told right."""
        fake, real = (self.discriminator(x.detach()).float() for x in (video_BCTHW, target_BCTHW))
        hinge = ((1 - real).relu().mean() + (1 + fake).relu().mean()) / 2
        with torch.no_grad():
            self.real_average.lerp_(_mean_of_all(real), 0.01)
            self.fake_average.lerp_(_mean_of_all(fake), 0.01)
        apart = (real - self.fake_average).relu().square().mean() + (self.real_average - fake).relu().square().mean()
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        return hinge + lecam * apart, right


def _nothing(module: nn.Module) -> Tensor:
    """Zero, with a gradient: distributed training wants one for every parameter."""
    return torch.stack([weight.sum() * 0 for weight in module.parameters()]).sum()


def _mean_of_all(logits: Tensor) -> Tensor:
    """Their mean over all processes, so that these stay in step."""
    mean = logits.mean()
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(mean)
        mean = mean / distributed.get_world_size()
    return mean


class Adversary(nn.Module):
    """The discriminators of frames and of motion, and their losses."""

    def __init__(self, config: AdversarialConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = _Side(PatchDiscriminator(config.width, config.depth, reach=1))
        self.motion = _Side(PatchDiscriminator(config.width, config.depth, reach=3))

    def forward(
        self, video_BCTHW: Tensor, target_BCTHW: Tensor, *, step: int, reconstruction: Tensor, last_weight: Tensor
    ) -> _AdversarialLosses:
        """Losses of one step. Pictures that are too small for the number of layers are refused at the first.

        Args:
            video_BCTHW: the reconstruction, with its graph.
            target_BCTHW: what it should be.
            step: optimizer steps done, which decides start and ramp.
            reconstruction: the loss that the generator's term is balanced with.
            last_weight: weight of the decoder's last layer, where the gradients of both are compared.
        """
        smallest, depth = min(video_BCTHW.shape[3:]), self.config.depth
        if smallest < 2**depth:
            most = smallest.bit_length() - 1
            raise ValueError(f"adversarial depth {depth} halves {smallest} pixels too often; it must be {most} or less")
        if step < self.config.start_step:
            nothing = _nothing(self)
            return _AdversarialLosses(torch.zeros_like(nothing), nothing, {})
        drawn = draw_frames(video_BCTHW.shape[2], self.config.frames, video_BCTHW.device)
        both = (video_BCTHW, target_BCTHW)
        stills = tuple(rearrange(x[:, :, drawn], "b c t h w -> (b t) c 1 h w") for x in both)
        judged = {"frames": (self.frames, *stills)}
        if video_BCTHW.shape[2] > 1:
            judged["motion"] = (self.motion, *both)
        generator = torch.stack([side.generator_loss(fake) for side, fake, _ in judged.values()]).mean()
        adaptive = self._adaptive(reconstruction, generator, last_weight)
        ramp = min(1.0, (step - self.config.start_step + 1) / max(1, self.config.ramp_steps))
        terms = {"generator": generator.detach(), "adaptive_weight": adaptive}
        discriminator = torch.zeros((), device=video_BCTHW.device)
        for name, (side, fake, real) in judged.items():
            loss, right = side.discriminator_loss(fake, real, self.config.lecam)
            discriminator = discriminator + loss
            terms |= {f"discriminator_{name}": loss.detach(), f"told_{name}": right}
        if "motion" not in judged:
            discriminator = discriminator + _nothing(self.motion)
        return _AdversarialLosses(self.config.weight * ramp * adaptive * generator, discriminator, terms)

    def _adaptive(self, reconstruction: Tensor, generator: Tensor, last_weight: Tensor) -> Tensor:
        """How many times larger the gradient of reconstruction is than that of the generator's term."""
        norms = [torch.autograd.grad(x, last_weight, retain_graph=True)[0].norm() for x in (reconstruction, generator)]
        return (norms[0] / (norms[1] + 1e-6)).clamp(max=self.config.most_adaptive).detach()
