"""Training of the video tokenizer as a LightningModule.

    videogpt fit --config configs/tokenizer/tiny.yaml

Batches are `{"video": (B, 3, T, H, W) in [-1, 1]}`, from `ClipDataModule` or anything alike. What is validated and
saved is the moving average of the weights. There is no adversarial and no pretrained perceptual term here.
"""

import dataclasses
from pathlib import Path
from typing import Any

import lightning
import torch
from einops import rearrange
from torch import Tensor

from videogpt_tokenizer.losses import LossConfig, reconstruction_loss
from videogpt_tokenizer.metrics import CodebookUse, codebook_use, psnr, ssim
from videogpt_tokenizer.optimization import OptimizerConfig, averaged, configure, fast_autocast
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

# B batch, C colours, T frames, H/W height and width, S stages of the quantizer, V codes of a stage

SHOWN_CLIPS = 4
SHOWN_FRAMES = 6


class TokenizerTraining(lightning.LightningModule):
    """Reconstruction training of a `VideoTokenizer`."""

    code_counts_SV: Tensor

    def __init__(
        self,
        tokenizer: TokenizerConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        loss: LossConfig | None = None,
    ) -> None:
        """
        Args:
            tokenizer: network, compression and vocabulary.
            optimizer: learning rate, decay and averaging.
            loss: weights of the loss terms.
        """
        super().__init__()
        self.optimizer_config = optimizer or OptimizerConfig()
        self.loss_config = loss or LossConfig()
        self.tokenizer = VideoTokenizer(tokenizer)
        configs = {"tokenizer": self.tokenizer.config, "optimizer": self.optimizer_config, "loss": self.loss_config}
        # Plain types, so that a checkpoint opens with weights_only=True.
        self.save_hyperparameters({name: dataclasses.asdict(config) for name, config in configs.items()})
        self.average = averaged(self.tokenizer, self.optimizer_config)
        counts_SV = torch.zeros(self.tokenizer.stages, max(self.tokenizer.quantizer.stage_sizes), dtype=torch.long)
        self.register_buffer("code_counts_SV", counts_SV, persistent=False)

    @property
    def averaged_tokenizer(self) -> VideoTokenizer:
        """The tokenizer with averaged weights, in evaluation mode."""
        tokenizer = self.average.module
        assert isinstance(tokenizer, VideoTokenizer)
        return tokenizer.eval()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Loss of one batch and its terms, which are logged like the codebook's use."""
        video = batch["video"]
        with fast_autocast(self.device):
            reconstruction = self.tokenizer(video)
        losses = reconstruction_loss(reconstruction.video_BCTHW, video, self.loss_config)
        loss = losses.total + reconstruction.quantizer_loss
        self.log("train/loss", loss, prog_bar=True)
        terms = {**losses.terms, "quantizer": reconstruction.quantizer_loss}
        terms = {name: term.detach() for name, term in terms.items()}
        self.log_dict({f"train/{name}": term for name, term in terms.items()})
        self.log("train/codes_in_batch", float(reconstruction.codes_BTHW.unique().numel()))
        return {"loss": loss, "terms": terms}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow before anything can save a checkpoint between the two."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.tokenizer)

    def on_validation_epoch_start(self) -> None:
        self.code_counts_SV.zero_()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """PSNR and SSIM of the averaged tokenizer; pictures of the first batch."""
        reconstruction = self._measure("val", batch["video"])
        if batch_idx == 0:
            self._show(batch["video"], reconstruction)

    def on_validation_epoch_end(self) -> None:
        self._log_codebook_use("val")

    def on_test_epoch_start(self) -> None:
        self.code_counts_SV.zero_()

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The figures of validation."""
        self._measure("test", batch["video"])

    def on_test_epoch_end(self) -> None:
        self._log_codebook_use("test")

    def configure_optimizers(self) -> Any:
        total_steps = int(self.trainer.estimated_stepping_batches)
        optimizer, scheduler = configure(self.tokenizer, self.optimizer_config, total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the averaged tokenizer as a folder that `VideoTokenizer.from_pretrained` reads."""
        self.averaged_tokenizer.save_pretrained(folder)

    def _measure(self, stage: str, video_BCTHW: Tensor) -> Tensor:
        """Log how well the averaged tokenizer reconstructs a batch, count its codes; the reconstruction."""
        tokenizer, batch_size = self.averaged_tokenizer, len(video_BCTHW)
        codes_BTHW = tokenizer.encode(video_BCTHW)
        reconstruction_BCTHW = tokenizer.decode(codes_BTHW)
        self.code_counts_SV += tokenizer.quantizer.count(codes_BTHW)
        for name, measure in (("psnr", psnr), ("ssim", ssim)):
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
        picks = torch.linspace(0, video_BCTHW.shape[2] - 1, min(SHOWN_FRAMES, video_BCTHW.shape[2])).long()
        pair = torch.stack([video_BCTHW[:SHOWN_CLIPS], reconstruction_BCTHW[:SHOWN_CLIPS]], dim=1)
        sheet = rearrange(pair[:, :, :, picks.to(pair.device)], "b pair c t h w -> c (b pair h) (t w)")
        writer.add_image("original_above_reconstruction", sheet.float().clamp(-1, 1) / 2 + 0.5, self.global_step)
