"""Training the tokenizer: it learns, averages, resumes exactly and saves what it validated."""

import lightning
import pytest
import torch
from torch.utils.data import Dataset, default_collate

from videogpt.runs.checkpoint import RandomState
from videogpt_tokenizer.data.loader import ResumableLoader
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.optim.configure import OptimizerConfig
from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig
from videogpt_tokenizer.training.reconstruction import TokenizerTraining
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

TINY = TokenizerConfig(
    autoencoder=AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1),
    quantizer=QuantizerConfig(levels=(5, 5, 5)),
)


class FlatClips(Dataset):
    """Clips of one colour each."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        colour = torch.rand(3, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"video": colour[:, None, None, None].expand(3, 5, 16, 16).clone()}


class StopAt(lightning.Callback):
    """An interrupt: the run ends early, but was planned for longer."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def training(**optimizer) -> TokenizerTraining:
    torch.manual_seed(0)
    config = OptimizerConfig(**{"learning_rate": 3e-3, "warmup_steps": 5, "ema_decay": 0.9, **optimizer})
    return TokenizerTraining(tokenizer=TINY, optimizer=config)


def trainer(root, max_steps: int, **extra) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "log_every_n_steps": 1}
    return lightning.Trainer(default_root_dir=root, accelerator="cpu", max_steps=max_steps, **quiet, **extra)


def loader() -> ResumableLoader:
    return ResumableLoader(FlatClips(), batch_size=4, shuffle=True, seed=0, collate_fn=default_collate)


@pytest.mark.filterwarnings("ignore")
def test_it_learns_flat_colours(tmp_path):
    module = training()
    run = trainer(tmp_path, 150, enable_checkpointing=False)
    before = run.validate(module, loader(), verbose=False)[0]["val/psnr"]
    run.fit(module, loader())
    after = run.validate(module, loader(), verbose=False)[0]
    assert after["val/psnr"] > before + 6
    assert 0 < after["val/codebook_share"] <= 1 and after["val/codebook_perplexity"] >= 1
    tested = run.test(module, loader(), verbose=False)[0]
    assert tested == {name.replace("val", "test"): value for name, value in after.items()}


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    whole, first, second = training(), training(), training()
    trainer(tmp_path / "whole", 8).fit(whole, loader())
    half = trainer(tmp_path / "half", 8, enable_checkpointing=False, callbacks=[StopAt(6)])
    half.fit(first, loader())
    assert half.global_step == 6  # in the middle of the second epoch
    half.save_checkpoint(tmp_path / "half.ckpt")
    trainer(tmp_path / "rest", 8).fit(second, loader(), ckpt_path=tmp_path / "half.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["rvq", "rfsq"])
def test_residual_quantizers_train_resume_and_report_every_stage(kind, tmp_path):
    quantizer = QuantizerConfig(kind=kind, levels=(5, 5, 5), codebook_size=24, codebook_dim=4, stages=3)
    config = TokenizerConfig(autoencoder=TINY.autoencoder, quantizer=quantizer)
    modules = []
    for _ in range(3):
        torch.manual_seed(0)
        modules.append(TokenizerTraining(tokenizer=config, optimizer=OptimizerConfig(learning_rate=3e-3)))
    whole, first, second = modules
    torch.manual_seed(1)
    run = trainer(tmp_path / "whole", 8, callbacks=[StopAt(5), generator := RandomState()])
    run.fit(first, loader())
    run.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(1)
    trainer(tmp_path / "uninterrupted", 8).fit(whole, loader())
    run = trainer(tmp_path / "rest", 8, callbacks=[generator])
    run.fit(second, loader(), ckpt_path=tmp_path / "half.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    found = run.validate(second, loader(), verbose=False)[0]
    for name in ("share", "perplexity"):
        each = [found.pop(f"val/codebook_{name}_{stage}") for stage in range(3)]
        assert found.pop(f"val/codebook_{name}") == pytest.approx(sum(each) / 3) and min(each) > 0
    assert set(found) == {"val/psnr", "val/ssim"}


@pytest.mark.filterwarnings("ignore")
def test_checkpoints_hold_no_pickled_code(tmp_path):
    run = trainer(tmp_path, 1)
    run.fit(training(), loader())
    run.save_checkpoint(tmp_path / "one.ckpt")
    checkpoint = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1


def test_it_saves_the_average_not_the_last_weights(tmp_path):
    module = training()
    with torch.no_grad():
        module.tokenizer.encoder.to_latent[1].weight.fill_(3)
    module.save_pretrained(tmp_path)
    saved = VideoTokenizer.from_pretrained(tmp_path)
    assert torch.equal(saved.encoder.to_latent[1].weight, module.averaged_tokenizer.encoder.to_latent[1].weight)
    assert not torch.equal(saved.encoder.to_latent[1].weight, module.tokenizer.encoder.to_latent[1].weight)
