"""Training the tokenizer: it learns, averages, resumes exactly and saves what it validated."""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import lightning
import pytest
import torch
from torch.utils.data import default_collate

from videogpt_tokenizer.data.loader import ResumableLoader
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.optim.configure import OptimizerConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.training.adversarial import AdversarialConfig
from videogpt_tokenizer.training.code_prior import PriorConfig
from videogpt_tokenizer.training.losses import LossConfig
from videogpt_tokenizer.training.reconstruction import TokenizerTraining
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
NETWORK = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
SMALL = {"levels": (8, 5, 3), "codebook_size": 16, "codebook_dim": 4, "stages": 3}
"""Settings of any quantizer."""
EVERYTHING = {
    "loss": LossConfig(perceptual=0.1, perceptual_frames=2),
    "adversarial": AdversarialConfig(start_step=2, ramp_steps=2, width=8, depth=2, frames=2),
    "prior": PriorConfig(weight=0.01, width=8, depth=1),
}
Loader = Callable[[], ResumableLoader]


class Stepwise(lightning.Callback):
    """Random numbers depend on the step, as `RandomState` makes them in a run; the run, planned for longer, may end
    early, as by an interrupt."""

    def __init__(self, last: int) -> None:
        self.last = last

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        torch.manual_seed(trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step >= self.last


def config_of(kind: str, **settings) -> TokenizerConfig:
    return TokenizerConfig(autoencoder=NETWORK, quantizer=QuantizerConfig(kind=kind, **SMALL, **settings))


def recipe(kind: str = "fsq", **parts) -> TokenizerTraining:
    torch.manual_seed(0)
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=2, ema_decay=0.9)
    return TokenizerTraining(**{"tokenizer": config_of(kind), "optimizer": optimizer, **parts})


def trainer(root: Path, max_steps: int, **extra) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    limits = {"max_steps": max_steps, "gradient_clip_val": 1}
    return lightning.Trainer(default_root_dir=root, accelerator="cpu", **limits, **quiet, **extra)


def loader_of(videos: Iterable[torch.Tensor]) -> Loader:
    clips = [{"video": video} for video in videos]
    return lambda: ResumableLoader(clips, batch_size=4, shuffle=True, seed=0, collate_fn=default_collate)  # type: ignore[arg-type]


@pytest.fixture
def smooth(waves: Callable[[int], torch.Tensor]) -> Loader:
    """A loader of smooth clips."""
    return loader_of(waves(index) for index in range(12))


def test_it_learns_flat_colours(tmp_path: Path) -> None:
    colours = torch.rand(16, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loader = loader_of(colours[:, :, None, None, None].expand(-1, 3, 5, 16, 16))
    module, run = recipe(), trainer(tmp_path, 150, enable_checkpointing=False)
    before = run.validate(module, loader(), verbose=False)[0]["val/psnr"]
    run.fit(module, loader())
    after = run.validate(module, loader(), verbose=False)[0]
    assert after["val/psnr"] > before + 6
    assert 0 < after["val/codebook_share"] <= 1 and after["val/codebook_perplexity"] >= 1
    tested = run.test(module, loader(), verbose=False)[0]
    assert tested == {name.replace("val", "test"): value for name, value in after.items()}


MUON = {"optimizer": OptimizerConfig(kind="muon", learning_rate=3e-3, warmup_steps=2, ema_decay=0.9)}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("fsq", {}), ("rvq", {}), ("rfsq", {}), ("fsq", EVERYTHING), ("fsq", EVERYTHING | MUON)],
    ids=["plain", "rvq", "rfsq", "every part", "every part, muon"],
)
def test_a_resumed_training_equals_an_uninterrupted_one(kind: str, parts: dict, tmp_path: Path, smooth: Loader) -> None:
    def run(last: int, checkpoint: Path | None = None) -> tuple[lightning.Trainer, TokenizerTraining]:
        module, fitter = recipe(kind, **parts), trainer(tmp_path, 8, callbacks=[Stepwise(last)])
        fitter.fit(module, smooth(), ckpt_path=checkpoint, weights_only=True)  # no pickled code in checkpoints
        assert fitter.global_step == last
        return fitter, module

    _, whole = run(8)
    first, _ = run(5)  # in the middle of the second epoch
    first.save_checkpoint(tmp_path / "five.ckpt")
    fitter, resumed = run(8, tmp_path / "five.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    if kind == "fsq":
        return
    found = dict(fitter.validate(resumed, smooth(), verbose=False)[0])
    for name in ("share", "perplexity"):
        each = [found.pop(f"val/codebook_{name}_{stage}") for stage in range(3)]
        assert found.pop(f"val/codebook_{name}") == pytest.approx(sum(each) / 3) and min(each) > 0
    assert set(found) == {"val/psnr", "val/ssim"}


def test_it_saves_the_average_not_the_last_weights(tmp_path):
    module = recipe()
    with torch.no_grad():
        module.tokenizer.encoder.to_latent[1].weight.fill_(3)
    module.save_pretrained(tmp_path)
    saved = VideoTokenizer.from_pretrained(tmp_path)
    assert torch.equal(saved.encoder.to_latent[1].weight, module.averaged_tokenizer.encoder.to_latent[1].weight)
    assert not torch.equal(saved.encoder.to_latent[1].weight, module.tokenizer.encoder.to_latent[1].weight)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], part: str) -> bool:
    names = [name for name in before if name.startswith(part)]
    assert names
    return any(not before[name].equal(after[name]) for name in names)


def test_every_part_learns_and_is_logged_and_none_is_saved(tmp_path: Path, smooth: Loader) -> None:
    module = recipe(**EVERYTHING)
    before = copy.deepcopy(module.state_dict())
    run = trainer(tmp_path, 6)
    run.fit(module, smooth())
    after = module.state_dict()
    for part in ("tokenizer.encoder", "tokenizer.decoder", "adversary.frames", "adversary.motion", "prior"):
        assert moved(before, after, part), part
    logged = {"perceptual", "prior_bits", "generator", "adaptive_weight", "discriminator_frames", "told_motion"}
    assert {f"train/{name}" for name in logged} <= set(run.callback_metrics)
    module.save_pretrained(tmp_path / "saved")
    saved = VideoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved.state_dict().keys() == module.tokenizer.state_dict().keys()


def test_helpers_do_not_shrink_the_tokenizers_gradients() -> None:
    module = recipe(**EVERYTHING)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 1e-4)
    for parameter in module.adversary.parameters():
        parameter.grad = torch.full_like(parameter, 1e4)
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters()), 1.0, "norm")
    norm = torch.stack([p.grad.norm() for p in module.adversary.parameters()]).norm()
    assert torch.isclose(norm, torch.tensor(1.0), rtol=1e-3)
    assert all(p.grad.eq(1e-4).all() for p in module.tokenizer.parameters())


def test_the_adversary_is_finite_at_every_size_where_bfloat16_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU it stays out of bfloat16: gradients of its convolutions are wrong there from 128 pixels on."""
    monkeypatch.setattr("videogpt_tokenizer.optim.precision.bfloat16_is_fast", lambda _: True)
    module = recipe(adversarial=AdversarialConfig(start_step=0, ramp_steps=0))
    module.log = module.log_dict = lambda *_, **__: None
    video = torch.rand(1, 3, 5, 128, 128) * 2 - 1
    module.training_step({"video": video}, 0)["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.adversary.parameters())
    assert all(parameter.grad.dtype == torch.float32 for parameter in module.adversary.parameters())


@pytest.mark.parametrize("kind", ["rvq", "rfsq"])
def test_the_second_stage_trains_every_rate(tmp_path: Path, kind: str, smooth: Loader) -> None:
    VideoTokenizer(config_of(kind, quantizer_dropout=1.0)).save_pretrained(tmp_path)
    module = recipe(tokenizer=None, start_from=str(tmp_path), trains="decoder").train()
    module.on_train_start()
    before = copy.deepcopy(module.tokenizer.quantizer.state_dict())
    codes = torch.cat([module.tokenizer(batch["video"]).codes_BTHW for batch in (*smooth(), *smooth())])
    last_B = module.tokenizer.quantizer.digit(codes, module.tokenizer.stages - 1)[:, 0, 0, 0]
    assert 0 < (last_B < 0).float().mean() < 1, "the last stage is left out of some clips"
    assert all(value.equal(before[name]) for name, value in module.tokenizer.quantizer.state_dict().items())


@pytest.mark.parametrize("kind", ["fsq", "vq"])
def test_in_the_second_stage_codes_stay_as_they_are(tmp_path: Path, kind: str, smooth: Loader) -> None:
    first = recipe(kind)
    trainer(tmp_path, 3).fit(first, smooth())
    first.save_pretrained(tmp_path / "first")
    second = recipe(tokenizer=None, start_from=str(tmp_path / "first"), trains="decoder")
    before = copy.deepcopy(second.tokenizer)
    trainer(tmp_path, 4).fit(second, smooth())
    video = next(iter(smooth()))["video"]
    codes = before.eval().encode(video)
    assert second.tokenizer.eval().encode(video).equal(codes)
    assert not second.tokenizer.decode(codes).equal(before.decode(codes))
    assert moved(before.state_dict(), second.tokenizer.state_dict(), "decoder")
    assert not moved(before.state_dict(), second.tokenizer.state_dict(), "encoder")


def test_parts_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    VideoTokenizer(config_of("fsq")).save_pretrained(tmp_path)
    for kind, parts, said in (
        ("fsq", {"tokenizer": TokenizerConfig(), "start_from": str(tmp_path)}, "start_from: .* and tokenizer says"),
        ("fsq", {"trains": "encoder"}, "trains is 'encoder'; choose all, decoder"),
        ("fsq", {"trains": "decoder"}, "without start_from its encoder would stay random"),
        ("vq", {"prior": PriorConfig()}, "a prior predicts the levels of fsq, and the quantizer is vq"),
    ):
        with pytest.raises(ValueError, match=said):
            recipe(kind, **parts)
