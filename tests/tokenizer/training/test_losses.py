"""The parts of the training recipe beside reconstruction: who learns from what, and that runs resume with them."""

import copy
from pathlib import Path

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, default_collate

from videogpt_tokenizer.data.loader import ResumableLoader
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.optim.configure import OptimizerConfig
from videogpt_tokenizer.quantizers.quantizers import FiniteScalarQuantizer, QuantizerConfig
from videogpt_tokenizer.training.adversarial import AdversarialConfig, Adversary, PatchDiscriminator
from videogpt_tokenizer.training.code_prior import CodePrior, PriorConfig
from videogpt_tokenizer.training.losses import LossConfig
from videogpt_tokenizer.training.reconstruction import TokenizerTraining
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

LEVELS = (8, 5, 3)
TINY = TokenizerConfig(
    autoencoder=AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1),
    quantizer=QuantizerConfig(levels=LEVELS),
)
EVERYTHING = {
    "loss": LossConfig(perceptual=0.1, perceptual_frames=2),
    "adversarial": AdversarialConfig(start_step=2, ramp_steps=2, width=8, depth=2, frames=2),
    "prior": PriorConfig(weight=0.01, width=8, depth=1),
}


class Waves(Dataset):
    """Smooth clips that differ."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        coarse = torch.rand(1, 3, 2, 3, 3, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"video": F.interpolate(coarse, size=(5, 32, 32), mode="trilinear")[0]}


def training(**parts) -> TokenizerTraining:
    torch.manual_seed(0)
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=2, ema_decay=0.9)
    return TokenizerTraining(**{"tokenizer": TINY, "optimizer": optimizer, **parts})


def trainer(root: Path, max_steps: int) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    return lightning.Trainer(
        default_root_dir=root, accelerator="cpu", max_steps=max_steps, gradient_clip_val=1, **quiet
    )


def loader() -> ResumableLoader:
    return ResumableLoader(Waves(), batch_size=3, shuffle=True, seed=0, collate_fn=default_collate)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> bool:
    names = [name for name in before if name.startswith(part)]
    assert names
    return any(not before[name].equal(after[name]) for name in names)


# The whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_with_every_part_resumed_equals_uninterrupted(tmp_path: Path, optimizer: str) -> None:
    config = OptimizerConfig(kind=optimizer, learning_rate=3e-3, warmup_steps=2, ema_decay=0.9)
    parts = {**EVERYTHING, "optimizer": config}

    class Stepwise(lightning.Callback):
        """Random numbers depend on the step, as `RandomState` makes them in a run; the run ends after `last`."""

        def __init__(self, last: int) -> None:
            self.last = last

        def on_train_batch_start(self, run: lightning.Trainer, *_: object) -> None:
            torch.manual_seed(run.global_step)

        def on_train_batch_end(self, run: lightning.Trainer, *_: object) -> None:
            run.should_stop = run.global_step >= self.last

    def run(last: int, checkpoint: Path | None = None) -> tuple[lightning.Trainer, dict[str, torch.Tensor]]:
        module, fitter = training(**parts), trainer(tmp_path, 8)
        fitter.callbacks.append(Stepwise(last))
        fitter.fit(module, loader(), ckpt_path=checkpoint, weights_only=True)
        return fitter, module.state_dict()

    _, whole = run(8)
    first, _ = run(5)
    first.save_checkpoint(tmp_path / "five.ckpt")
    _, resumed = run(8, tmp_path / "five.ckpt")
    assert all(value.equal(resumed[name]) for name, value in whole.items())


@pytest.mark.filterwarnings("ignore")
def test_every_part_learns_and_is_logged_and_none_is_saved(tmp_path: Path) -> None:
    module = training(**EVERYTHING)
    before = copy.deepcopy(module.state_dict())
    run = trainer(tmp_path, 6)
    run.fit(module, loader())
    after = module.state_dict()
    for part in ("tokenizer.encoder", "tokenizer.decoder", "adversary.frames", "adversary.motion", "prior"):
        assert moved(before, after, part), part
    logged = {"perceptual", "prior_bits", "generator", "adaptive_weight", "discriminator_frames", "told_motion"}
    assert {f"train/{name}" for name in logged} <= set(run.callback_metrics)
    module.save_pretrained(tmp_path / "saved")
    assert (
        VideoTokenizer.from_pretrained(tmp_path / "saved").state_dict().keys() == module.tokenizer.state_dict().keys()
    )


@pytest.mark.filterwarnings("ignore")
def test_helpers_do_not_shrink_the_tokenizers_gradients() -> None:
    module = training(**EVERYTHING)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 1e-4)
    for parameter in module.adversary.parameters():
        parameter.grad = torch.full_like(parameter, 1e4)
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters()), 1.0, "norm")
    norms = {
        name: torch.stack([p.grad.norm() for p in part.parameters()]).norm()
        for name, part in (("tokenizer", module.tokenizer), ("adversary", module.adversary))
    }
    assert torch.isclose(norms["adversary"], torch.tensor(1.0), rtol=1e-3)
    assert all(p.grad.eq(1e-4).all() for p in module.tokenizer.parameters())


@pytest.mark.filterwarnings("ignore")
def test_the_adversary_is_finite_at_every_size_where_bfloat16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU it stays out of bfloat16: gradients of its convolutions are wrong there from 128 pixels on."""
    monkeypatch.setattr("videogpt_tokenizer.optim.precision.bfloat16_is_fast", lambda _: True)
    module = training(adversarial=AdversarialConfig(start_step=0, ramp_steps=0))
    module.log = module.log_dict = lambda *_, **__: None
    video = torch.rand(1, 3, 5, 128, 128) * 2 - 1
    module.training_step({"video": video}, 0)["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.adversary.parameters())
    assert all(parameter.grad.dtype == torch.float32 for parameter in module.adversary.parameters())


# Two stages


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["rvq", "rfsq"])
def test_the_second_stage_trains_every_rate(tmp_path: Path, kind: str) -> None:
    quantizer = QuantizerConfig(kind=kind, levels=LEVELS, codebook_size=16, codebook_dim=4, quantizer_dropout=1.0)
    VideoTokenizer(TokenizerConfig(autoencoder=TINY.autoencoder, quantizer=quantizer)).save_pretrained(tmp_path)
    module = training(tokenizer=None, start_from=str(tmp_path), trains="decoder").train()
    module.on_train_start()
    before = copy.deepcopy(module.tokenizer.quantizer.state_dict())
    codes = torch.cat([module.tokenizer(batch["video"]).codes_BTHW for batch in (*loader(), *loader())])
    last_B = module.tokenizer.quantizer.digit(codes, module.tokenizer.stages - 1)[:, 0, 0, 0]
    assert 0 < (last_B < 0).float().mean() < 1, "the last stage is left out of some clips"
    assert all(value.equal(before[name]) for name, value in module.tokenizer.quantizer.state_dict().items())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["fsq", "vq"])
def test_in_the_second_stage_codes_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    quantizer = QuantizerConfig(kind=kind, levels=LEVELS, codebook_size=16, codebook_dim=4)
    first = training(tokenizer=TokenizerConfig(autoencoder=TINY.autoencoder, quantizer=quantizer))
    trainer(tmp_path, 3).fit(first, loader())
    first.save_pretrained(tmp_path / "first")
    second = training(tokenizer=None, start_from=str(tmp_path / "first"), trains="decoder")
    before = copy.deepcopy(second.tokenizer)
    trainer(tmp_path, 4).fit(second, loader())
    video = next(iter(loader()))["video"]
    codes = before.eval().encode(video)
    assert second.tokenizer.eval().encode(video).equal(codes)
    assert not second.tokenizer.decode(codes).equal(before.decode(codes))
    assert moved(before.state_dict(), second.tokenizer.state_dict(), "decoder")
    assert not moved(before.state_dict(), second.tokenizer.state_dict(), "encoder")


def test_a_start_of_other_sizes_is_refused(tmp_path: Path) -> None:
    VideoTokenizer(TINY).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="start_from: .* and tokenizer says"):
        training(tokenizer=TokenizerConfig(), start_from=str(tmp_path))
    with pytest.raises(ValueError, match="trains is 'encoder'; choose all, decoder"):
        training(trains="encoder")
    with pytest.raises(ValueError, match="without start_from its encoder would stay random"):
        training(trains="decoder")


# Adversary


def test_each_side_learns_from_its_own_term_alone() -> None:
    adversary = Adversary(AdversarialConfig(start_step=0, ramp_steps=0, width=8, depth=2))
    weight = torch.randn(3, 3, requires_grad=True)
    target = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    video = torch.einsum("dc,bcthw->bdthw", weight, target)
    losses = adversary(video, target, step=0, reconstruction=(video - target).abs().mean(), last_weight=weight)
    (from_generator,) = torch.autograd.grad(losses.generator, weight, retain_graph=True)
    assert from_generator.norm() > 0
    losses.discriminator.backward()
    assert weight.grad is None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adversary.parameters())
    parameters = list(adversary.parameters())
    again = adversary(video, target, step=0, reconstruction=(video - target).abs().mean(), last_weight=weight)
    assert all(g is None for g in torch.autograd.grad(again.generator, parameters, allow_unused=True))


def test_the_adaptive_weight_makes_both_gradients_alike() -> None:
    adversary = Adversary(
        AdversarialConfig(weight=1.0, start_step=0, ramp_steps=0, width=8, depth=2, most_adaptive=1e9)
    )
    weight = torch.eye(3).add(0.1).requires_grad_()
    target = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    video = torch.einsum("dc,bcthw->bdthw", weight, target)
    reconstruction = (video - target).abs().mean()
    losses = adversary(video, target, step=0, reconstruction=reconstruction, last_weight=weight)
    norms = [torch.autograd.grad(x, weight, retain_graph=True)[0].norm() for x in (reconstruction, losses.generator)]
    assert torch.isclose(norms[0], norms[1], rtol=1e-2)


@pytest.mark.parametrize("step, share", [(9, 0.0), (10, 0.25), (11, 0.5), (13, 1.0), (99, 1.0)])
def test_start_and_ramp(step: int, share: float) -> None:
    config = AdversarialConfig(weight=1.0, start_step=10, ramp_steps=4, width=8, depth=2, most_adaptive=2.0)
    torch.manual_seed(0)
    adversary = Adversary(config)
    weight = torch.eye(3).requires_grad_()
    target = torch.rand(2, 3, 5, 32, 32)
    video = torch.einsum("dc,bcthw->bdthw", weight, target)
    given = {"reconstruction": (video * 9).square().mean(), "last_weight": weight}
    torch.manual_seed(1)
    found = adversary(video, target, step=step, **given)
    torch.manual_seed(1)
    whole = adversary(video, target, step=1000, **given)
    assert torch.isclose(found.generator, share * whole.generator)
    found.discriminator.backward()
    assert all(p.grad is not None for p in adversary.parameters()), "distributed training waits for every gradient"


def test_an_image_has_no_motion_to_judge() -> None:
    adversary = Adversary(AdversarialConfig(start_step=0, width=8, depth=2))
    weight = torch.eye(3).requires_grad_()
    image = torch.einsum("dc,bcthw->bdthw", weight, torch.rand(2, 3, 1, 32, 32))
    losses = adversary(image, image.detach(), step=0, reconstruction=image.mean(), last_weight=weight)
    losses.discriminator.backward()
    assert "told_motion" not in losses.terms
    assert all(p.grad is not None for p in adversary.parameters())


def test_a_discriminator_learns_to_tell_noise_and_lecam_follows() -> None:
    torch.manual_seed(0)
    adversary = Adversary(AdversarialConfig(start_step=0, width=8, depth=2))
    optimizer = torch.optim.Adam(adversary.parameters(), lr=3e-3)
    weight = torch.eye(3).requires_grad_()
    for step in range(60):
        target = torch.stack([Waves()[i]["video"] for i in range(4)])
        video = torch.einsum("dc,bcthw->bdthw", weight, target + 0.3 * torch.randn_like(target))
        losses = adversary(video, target, step=step, reconstruction=video.mean(), last_weight=weight)
        optimizer.zero_grad()
        losses.discriminator.backward()
        optimizer.step()
    assert losses.terms["told_frames"] > 0.9 and losses.terms["told_motion"] > 0.9
    assert adversary.frames.real_average > 0 > adversary.frames.fake_average


def test_the_discriminator_of_frames_sees_no_other_frame() -> None:
    video = torch.rand(1, 3, 5, 32, 32)
    changed = video.clone()
    changed[:, :, 4] = 0
    for reach, same in ((1, True), (3, False)):
        discriminator = PatchDiscriminator(8, 2, reach).eval()
        discriminator.layers = torch.nn.Sequential(
            *(x for x in discriminator.layers if not isinstance(x, torch.nn.GroupNorm))
        )
        assert discriminator(video)[:, :, 3].equal(discriminator(changed)[:, :, 3]) == same


@pytest.mark.parametrize(
    "wrong", [{"width": 12}, {"width": 4}, {"weight": -1.0}, {"frames": 0}, {"lecam": float("nan")}]
)
def test_adversarial_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"adversarial {next(iter(wrong))} is"):
        AdversarialConfig(**wrong)


def test_too_many_layers_for_the_picture_are_refused_at_the_first_step() -> None:
    adversary = Adversary(AdversarialConfig(start_step=99, width=8, depth=6))
    video = torch.zeros(1, 3, 5, 32, 32)
    with pytest.raises(ValueError, match="depth 6 halves 32 pixels too often; it must be 5 or less"):
        adversary(video, video, step=0, reconstruction=torch.zeros(()), last_weight=torch.zeros(1))


@pytest.mark.parametrize("depth, side", [(2, 18), (3, 38), (4, 78)])
def test_a_logit_sees_what_the_help_says(depth: int, side: int) -> None:
    discriminator = PatchDiscriminator(8, depth, reach=1)
    for index, layer in enumerate(discriminator.layers):
        if isinstance(layer, torch.nn.GroupNorm):
            discriminator.layers[index] = torch.nn.Identity()
    x = torch.randn(1, 3, 1, 128, 128, requires_grad=True)
    logits = discriminator(x)
    (gradient,) = torch.autograd.grad(logits[0, 0, 0, logits.shape[3] // 2, logits.shape[4] // 2], x)
    assert (gradient[0, 0, 0].abs().sum(dim=0) > 0).sum() == side


# Prior


def latents(*shape: int, seed: int = 0) -> torch.Tensor:
    quantizer = FiniteScalarQuantizer(LEVELS)
    codes = torch.randint(0, quantizer.codebook_size, shape, generator=torch.Generator().manual_seed(seed))
    return quantizer.lookup(codes)


def test_bits_are_those_of_a_distribution_over_all_codes() -> None:
    quantizer = FiniteScalarQuantizer(LEVELS)
    every = quantizer.lookup(torch.arange(quantizer.codebook_size).view(-1, 1, 1, 1))
    torch.manual_seed(3)
    prior = CodePrior(PriorConfig(width=8, depth=1), LEVELS)
    torch.nn.init.normal_(prior.earlier_channels_KK, std=0.3)
    bits = torch.stack([prior(code[None]) for code in every])
    assert torch.isclose((2.0**-bits).sum(), torch.tensor(1.0), atol=1e-4)


def test_a_code_is_predicted_from_earlier_ones_alone() -> None:
    prior = CodePrior(PriorConfig(weight=1.0, width=8, depth=2), LEVELS)
    torch.nn.init.normal_(prior.earlier_channels_KK, std=0.3)
    x = latents(1, 3, 4, 4).requires_grad_()
    seen = {}
    original = prior._bits

    def keep(*args: torch.Tensor) -> torch.Tensor:
        seen["mean"], seen["log_scale"] = args[1:]
        return original(*args)

    prior._bits = keep  # type: ignore[method-assign]
    prior(x)
    order = torch.arange(3 * 4 * 4 * len(LEVELS)).view(3, 4, 4, len(LEVELS))
    for place in torch.cartesian_prod(*map(torch.arange, order.shape)).tolist():
        reached = torch.zeros_like(order, dtype=torch.bool)
        for name in ("mean", "log_scale"):
            (gradient,) = torch.autograd.grad(seen[name][0][tuple(place)], x, retain_graph=True)
            reached |= gradient[0] != 0
        assert not (reached & (order >= order[tuple(place)])).any(), place
        assert place[0] == 0 or reached[place[0] - 1].any(), "the frame before is seen"


def test_a_prior_learns_from_what_it_took_for_impossible() -> None:
    prior = CodePrior(PriorConfig(), LEVELS)
    mean, log_scale = (torch.full((1, 3), value, requires_grad=True) for value in (-3.0, -2.0))
    bits = prior._bits(torch.zeros(1, 3), mean, log_scale)
    gradients = torch.autograd.grad(bits.sum(), (mean, log_scale))
    assert (bits > 25).all() and all(gradient.isfinite().all() and (gradient < 0).all() for gradient in gradients)


def test_weight_scales_what_reaches_the_latents_and_nothing_else() -> None:
    found = {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        prior = CodePrior(PriorConfig(weight=weight, width=8, depth=1), LEVELS)
        x = latents(2, 3, 4, 4).requires_grad_()
        prior(x).backward()
        found[weight] = x.grad, prior.before.weight.grad
    assert found[0.0][0].eq(0).all() and found[1.0][0].abs().sum() > 0
    assert torch.allclose(found[0.5][0], found[1.0][0] / 2)
    assert all(found[weight][1].equal(found[1.0][1]) for weight in (0.0, 0.5))


def test_a_prior_learns_what_repeats() -> None:
    torch.manual_seed(0)
    prior = CodePrior(PriorConfig(width=16, depth=1), LEVELS)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for step in range(120):
        still = latents(4, 1, 4, 4, seed=step).expand(-1, 4, -1, -1, -1)
        loss = prior(still)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    uniform = sum(torch.tensor(LEVELS).float().log2())
    assert loss < 0.6 * uniform, "three frames of four are known from the one before"


def test_a_prior_needs_levels() -> None:
    config = TokenizerConfig(autoencoder=TINY.autoencoder, quantizer=QuantizerConfig(kind="vq"))
    with pytest.raises(ValueError, match="a prior predicts the levels of fsq, and the quantizer is vq"):
        training(tokenizer=config, prior=PriorConfig())
    with pytest.raises(ValueError, match="prior weight is -1"):
        PriorConfig(weight=-1)
