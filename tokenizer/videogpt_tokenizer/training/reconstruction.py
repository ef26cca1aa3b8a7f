"""Training of the video tokenizer as a LightningModule.

    videogpt fit --config configs/tokenizer/tiny.yaml

Batches are `{"video": (B, 3, T, H, W) in [-1, 1]}`, from `ClipDataModule`, `ClipMixture` or anything alike. What is
validated and saved is the moving average of the weights. Reconstruction alone is the default; `loss.perceptual`,
`adversarial` and `prior` add to it, and `start_from` with `trains: decoder` is the second of two stages: codes stay as
they are, and the decoder learns to draw them better, on larger pictures for example.
"""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from einops import rearrange
from torch import Tensor, nn

from videogpt_tokenizer.metrics import CodebookUse, codebook_use, psnr, ssim
from videogpt_tokenizer.optim.averages import averaged
from videogpt_tokenizer.optim.configure import OptimizerConfig, configure
from videogpt_tokenizer.optim.precision import check_precision, fast_autocast
from videogpt_tokenizer.training.adversarial import AdversarialConfig, Adversary
from videogpt_tokenizer.training.code_prior import CodePrior, PriorConfig
from videogpt_tokenizer.training.losses import LossConfig, reconstruction_loss
from videogpt_tokenizer.training.perceptual import make_perceptual
from videogpt_tokenizer.video_tokenizer import Reconstruction, TokenizerConfig, VideoTokenizer

# B batch, C colours, T frames, H/W height and width, S stages of the quantizer, V codes of a stage

_SHOWN_CLIPS, _SHOWN_FRAMES = 4, 6


class TokenizerTraining(lightning.LightningModule):
    """Reconstruction training of a `VideoTokenizer`."""

    code_counts_SV: Tensor

    def __init__(
        self,
        tokenizer: TokenizerConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        loss: LossConfig | None = None,
        adversarial: AdversarialConfig | None = None,
        prior: PriorConfig | None = None,
        start_from: str | None = None,
        trains: Literal["all", "decoder"] = "all",
    ) -> None:
        """
        Args:
            tokenizer: network, compression and vocabulary.
            optimizer: learning rate, decay and averaging.
            loss: weights of the loss terms.
            adversarial: discriminators to learn against; none by default.
            prior: model of the codes that is trained along; none by default. For fsq alone.
            start_from: folder or name of a tokenizer whose weights to begin with; it has to be of the same sizes.
            trains: all, or the decoder alone, for codes that stay as they are.
        """
        super().__init__()
        self.optimizer_config = optimizer or OptimizerConfig()
        self.loss_config = loss or LossConfig()
        if trains not in ("all", "decoder"):
            raise ValueError(f"trains is {trains!r}; choose all, decoder")
        if trains == "decoder" and start_from is None:
            found = "trains is 'decoder', and without start_from its encoder would stay random"
            raise ValueError(f"{found}: give start_from")
        self.tokenizer = VideoTokenizer(tokenizer) if start_from is None else _trained(start_from, tokenizer)
        lpips = self.loss_config.lpips_backbone, self.loss_config.lpips_heads
        self.perceptual = make_perceptual(*lpips) if self.loss_config.perceptual else None
        self.adversary = None if adversarial is None else Adversary(adversarial)
        quantizer = self.tokenizer.config.quantizer
        if prior is not None and quantizer.kind != "fsq":
            found = f"a prior predicts the levels of fsq, and the quantizer is {quantizer.kind}"
            raise ValueError(f"{found}: leave prior out")
        self.prior = None if prior is None else CodePrior(prior, quantizer.levels)
        self._codes_stay = trains == "decoder"
        self._hold_codes()
        configs = {"tokenizer": self.tokenizer.config, "optimizer": self.optimizer_config, "loss": self.loss_config}
        configs |= {"adversarial": adversarial, "prior": prior}
        # Plain types, so that a checkpoint opens with weights_only=True.
        plain = {name: config and dataclasses.asdict(config) for name, config in configs.items()}
        self.save_hyperparameters({**plain, "start_from": start_from, "trains": trains})
        self.average = averaged(self.tokenizer, self.optimizer_config.ema_decay)
        counts_SV = torch.zeros(self.tokenizer.stages, max(self.tokenizer.quantizer.stage_sizes), dtype=torch.long)
        self.register_buffer("code_counts_SV", counts_SV, persistent=False)

    @property
    def averaged_tokenizer(self) -> VideoTokenizer:
        """The tokenizer with averaged weights, in evaluation mode."""
        tokenizer = self.average.module
        assert isinstance(tokenizer, VideoTokenizer)
        return tokenizer.eval()

    def check_precision(self, precision: object) -> None:
        """Refuse a `trainer.precision` that the training cannot have."""
        check_precision(precision)

    def prepare_data(self) -> None:
        """Refuse clips of sizes that do not divide, before any of them is decoded."""
        shapes = getattr(getattr(self.trainer, "datamodule", None), "shapes", list)
        for shape in shapes():
            self.tokenizer.grid(*shape)

    def setup(self, stage: str) -> None:
        self.check_precision(self.trainer.precision)

    def on_train_start(self) -> None:
        self._hold_codes()  # a learned codebook moves in training mode, with gradients or without

    def sizes(self, batch: dict[str, Any]) -> dict[str, int]:
        """What a batch holds, by name."""
        clips, _, frames, height, width = batch["video"].shape
        grid = self.tokenizer.grid(frames, height, width)
        return {"video tokens": clips * grid.time * grid.height * grid.width, "frames": clips * frames}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Loss of one batch and its terms, which are logged like the codebook's use."""
        video = batch["video"]
        with fast_autocast(self.device):
            reconstruction = self.tokenizer(video)
        with torch.autocast(self.device.type, enabled=False):  # losses are float32, whatever the trainer's precision
            return self._losses(video, reconstruction)

    def _losses(self, video: Tensor, reconstruction: Reconstruction) -> dict[str, Any]:
        losses = reconstruction_loss(reconstruction.video_BCTHW, video, self.loss_config, self.perceptual)
        loss = losses.total + reconstruction.quantizer_loss
        terms = {**losses.terms, "quantizer": reconstruction.quantizer_loss}
        if self.prior is not None:
            terms["prior_bits"] = self.prior(reconstruction.latents_BTHWD)
            loss = loss + terms["prior_bits"]
        if self.adversary is not None:
            # Not on a CPU: oneDNN's gradients of 3-D convolutions in bfloat16 (AMX) are NaN at 128 pixels a side.
            with fast_autocast(self.device) if self.device.type != "cpu" else nullcontext():
                balance = {"reconstruction": losses.total, "last_weight": self.tokenizer.decoder.last_weight}
                against = self.adversary(reconstruction.video_BCTHW, video, step=self.global_step, **balance)
            loss = loss + against.generator + against.discriminator
            terms |= against.terms
        terms = {name: term.detach() for name, term in terms.items()}
        self.log("train/loss", loss, prog_bar=True)
        self.log_dict({f"train/{name}": term for name, term in terms.items()})
        changes = reconstruction.codes_BTHW.flatten().sort().values.diff() != 0  # unlike unique(), waits for no device
        self.log("train/codes_in_batch", changes.sum().float() + 1)
        return {"loss": loss, "terms": terms}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients of tokenizer, adversary and prior apart: those of one must not shrink another's."""
        if self.adversary is None and self.prior is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
            for part in filter(None, (self.tokenizer, self.adversary, self.prior)):
                clip(part.parameters(), gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow before anything can save a checkpoint between the two."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.tokenizer)

    def on_validation_epoch_start(self) -> None:
        self.code_counts_SV.zero_()

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """PSNR and SSIM of the averaged tokenizer; pictures of the first batch."""
        reconstruction = self._measure("val", batch["video"])
        if batch_idx == 0:
            self._show(batch["video"], reconstruction)

    def on_validation_epoch_end(self) -> None:
        self._log_codebook_use("val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The figures of validation."""
        self._measure("test", batch["video"])

    def on_test_epoch_end(self) -> None:
        self._log_codebook_use("test")

    def configure_optimizers(self) -> Any:
        total_steps = self.trainer.estimated_stepping_batches
        helpers: list[dict[str, Any]] = [
            {"params": list(part.parameters()), "lr": part.config.learning_rate}
            for part in (self.adversary, self.prior)
            if part is not None
        ]
        if self.adversary is not None:  # momentum would have it answer what the generator no longer does
            helpers[0]["betas"] = (0.5, 0.9)
        optimizer, scheduler = configure(self.tokenizer, self.optimizer_config, total_steps, groups=helpers)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the averaged tokenizer as a folder that `VideoTokenizer.from_pretrained` reads."""
        self.averaged_tokenizer.save_pretrained(folder)

    def _hold_codes(self) -> None:
        """Keep encoder and quantizer as they are, where the decoder alone is trained."""
        if self._codes_stay:
            self.tokenizer.encoder.requires_grad_(False)
            self.tokenizer.quantizer.freeze()

    def _measure(self, stage: str, video_BCTHW: Tensor) -> Tensor:
        """Log how well the averaged tokenizer reconstructs a batch, count its codes; the reconstruction."""
        tokenizer, batch_size = self.averaged_tokenizer, len(video_BCTHW)
        codes_BTHW = tokenizer.encode(video_BCTHW)
        reconstruction_BCTHW = tokenizer.decode(codes_BTHW)
        self.code_counts_SV += tokenizer.quantizer.count(codes_BTHW)
        for name, measure in (("psnr", psnr), ("ssim", ssim)):
            with torch.autocast(self.device.type, enabled=False):  # that of the trainer's precision
                value = measure(reconstruction_BCTHW, video_BCTHW).mean()
            self.log(f"{stage}/{name}", value, prog_bar=name == "psnr", batch_size=batch_size, sync_dist=True)
        return reconstruction_BCTHW

    def _log_codebook_use(self, stage: str) -> None:
        """Use of the codebook; where there are several, their mean and that of each."""
        counts = self.all_gather(self.code_counts_SV)
        assert isinstance(counts, Tensor)
        uses = [codebook_use(counts_V) for counts_V in counts.view(-1, *self.code_counts_SV.shape).sum(dim=0)]
        for name in CodebookUse._fields:
            values = [getattr(use, name) for use in uses]
            figures = {f"codebook_{name}": sum(values) / len(values)}
            figures |= {f"codebook_{name}_{i}": value for i, value in enumerate(values) if len(values) > 1}
            self.log_dict({f"{stage}/{figure}": value for figure, value in figures.items()}, sync_dist=True)

    def _show(self, video_BCTHW: Tensor, reconstruction_BCTHW: Tensor) -> None:
        """Original above reconstruction, frames side by side, as one TensorBoard image."""
        writer = getattr(self.logger, "experiment", None)
        if writer is None or not hasattr(writer, "add_image"):
            return
        picks = torch.linspace(0, video_BCTHW.shape[2] - 1, min(_SHOWN_FRAMES, video_BCTHW.shape[2])).long()
        pair = torch.stack([video_BCTHW[:_SHOWN_CLIPS], reconstruction_BCTHW[:_SHOWN_CLIPS]], dim=1)
        sheet = rearrange(pair[:, :, :, picks.to(pair.device)], "b pair c t h w -> c (b pair h) (t w)")
        writer.add_image("original_above_reconstruction", sheet.float().clamp(-1, 1) / 2 + 0.5, self.global_step)


def _trained(folder: str, config: TokenizerConfig | None) -> VideoTokenizer:
    tokenizer = VideoTokenizer.from_pretrained(folder).train()
    if config not in (None, tokenizer.config):
        raise ValueError(f"start_from: {folder} is a tokenizer of {tokenizer.config}, and tokenizer says {config}")
    return tokenizer
