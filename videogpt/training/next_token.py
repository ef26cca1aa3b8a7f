"""Training of the token language model as a LightningModule.

    videogpt fit --config configs/videogpt/tiny.yaml

Batches are `{"codes": (B, T, H, W), "caption": [str]}`, from `TokenData`. The loss is cross-entropy over each
modality's own ids; validation is in bits per video token. What is validated, sampled from and saved is the moving
average of the weights. Without a text tokenizer of the user's, one is trained on the captions and kept as `text.model`
in the run folder.
"""

import dataclasses
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt.layouts.text_to_video import Layout, LayoutConfig, TrainingSequence
from videogpt.model.network import VideoGPT, VideoGPTConfig
from videogpt.pipeline.names import load_tokenizer
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.sample_files import contact_sheet
from videogpt.pipeline.saved_model import ModelParts, save_model
from videogpt.sampling import SamplingConfig
from videogpt_tokenizer import TextTokenizer
from videogpt_tokenizer.optim.averages import averaged
from videogpt_tokenizer.optim.configure import OptimizerConfig, configure
from videogpt_tokenizer.optim.precision import fast_autocast

# B batch, T/H/W latent grid, N sequence rows, M rows of one modality, R = B * M, D width, V ids

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How captions become tokens."""

    tokenizer: str | None = None
    """SentencePiece file; without one a tokenizer is trained on the data set's captions."""
    vocab_size: int = 512
    """Room for text tokens in the model, at least the tokenizer's vocabulary."""
    max_tokens: int = 64
    """Rows kept for a caption; longer captions are cut."""
    dropout: float = 0.1
    """Share of captions replaced by the empty one, which is what guidance steers away from."""
    loss_weight: float = 0.1
    """Weight of predicting a text token, where a video token weighs 1."""


@dataclass(frozen=True, kw_only=True)
class SampleLogConfig:
    """Videos sampled at every validation, shown in TensorBoard."""

    prompts: tuple[str, ...] = ()
    """One row of frames each; none by default."""
    sampling: SamplingConfig = SamplingConfig()
    """Temperature, truncation and guidance."""


class SequenceLosses(NamedTuple):
    """Cross-entropy of a batch in nats."""

    total: Tensor
    """Mean over all rows, each with its weight: what training makes small."""
    mean: dict[str, Tensor]
    """Mean of each modality, by its name."""


class VideoGPTTraining(lightning.LightningModule):
    """Next-token training of a `VideoGPT` on token shards.

    The network is made when the data are known (`configure_model`): their manifest gives grid and vocabulary.
    """

    model: VideoGPT
    layout: Layout

    def __init__(
        self,
        tokenizer: str,
        model: VideoGPTConfig | None = None,
        text: TextConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        samples: SampleLogConfig | None = None,
    ) -> None:
        """
        Args:
            tokenizer: folder or name of the video tokenizer that made the token shards.
            model: size of the decoder.
            text: text tokenizer, caption dropout and loss weight.
            optimizer: learning rate, decay and averaging.
            samples: videos to sample at every validation.
        """
        super().__init__()
        self.tokenizer_folder = tokenizer
        self.model_config = model or VideoGPTConfig()
        self.text_config = text or TextConfig()
        self.optimizer_config = optimizer or OptimizerConfig(learning_rate=2e-3, weight_decay=0.1)
        self.sample_config = samples or SampleLogConfig()
        self.parts: ModelParts | None = None
        configs = {
            "model": self.model_config,
            "text": self.text_config,
            "optimizer": self.optimizer_config,
            "samples": self.sample_config,
        }
        # Plain types, so that a checkpoint opens with weights_only=True.
        plain = {name: dataclasses.asdict(config) for name, config in configs.items()}
        self.save_hyperparameters({"tokenizer": tokenizer, **plain})

    def configure_model(self) -> None:
        """Build layout and network from the shards' manifest; called by Lightning once the data module is set up."""
        if self.parts is not None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        manifest = data.manifest
        tokenizer = load_tokenizer(self.tokenizer_folder)
        if tokenizer.fingerprint() != manifest.tokenizer_fingerprint:
            raise ValueError(
                f"tokenizer {self.tokenizer_folder} did not make the token shards (the manifest names another): "
                "run `videogpt tokenize` with it, or name the tokenizer that did"
            )
        text_tokenizer = self._find_text_tokenizer(data)
        self.layout = Layout(
            LayoutConfig(
                text_vocab_size=text_tokenizer.vocab_size,
                codebook_size=tokenizer.codebook_size,
                max_text_tokens=self.text_config.max_tokens,
                latent_frames=manifest.grid.time,
                latent_height=manifest.grid.height,
                latent_width=manifest.grid.width,
            )
        )
        self.model = VideoGPT(dataclasses.replace(self.model_config, vocab_size=self.layout.vocab_size))
        self.average = averaged(self.model, self.optimizer_config.ema_decay)
        averaged_model = self.average.module
        assert isinstance(averaged_model, VideoGPT)
        self.parts = ModelParts(
            tokenizer=tokenizer,
            text_tokenizer=text_tokenizer,
            layout=self.layout,
            model=averaged_model.eval(),
            fps=manifest.fps,
            sampling=self.sample_config.sampling,
        )

    def pack(self, batch: dict[str, Any], drop_text: Tensor | None = None) -> TrainingSequence:
        """One sequence per clip: caption, then codes."""
        assert self.parts is not None
        texts = [self.parts.text_tokenizer.encode(caption) for caption in batch["caption"]]
        weight = self.text_config.loss_weight
        return self.layout.pack(texts, batch["codes"], drop_text=drop_text, text_loss_weight=weight).to(self.device)

    def losses(self, model: VideoGPT, sequence: TrainingSequence) -> SequenceLosses:
        """Cross-entropy of a batch, each modality's targets against that modality's ids alone."""
        hidden_BND = model.hidden(sequence)
        start = sequence.visibility.video_start
        modalities = (
            ("text", slice(start), self.layout.text_ids),
            ("video", slice(start, None), self.layout.video_ids),
        )
        weighted, mean = [], {}
        for name, rows, ids in modalities:
            weight_BM = sequence.loss_weight_BN[:, rows]
            targets_BM = (sequence.targets_BN[:, rows] - ids.start).clamp(min=0)  # what PAD becomes weighs nothing
            logits_BMV = model.logits(hidden_BND[:, rows], ids).float()
            # Rows of logits side by side: over the classes of a (B, V, M) view it takes four times as long on a CPU.
            nats_R = F.cross_entropy(logits_BMV.flatten(0, 1), targets_BM.flatten(), reduction="none")
            weighted.append((nats_R * weight_BM.flatten()).sum())
            mean[name] = weighted[-1].detach() / weight_BM.sum().clamp(min=1e-9)
        return SequenceLosses(torch.stack(weighted).sum() / sequence.loss_weight_BN.sum(), mean)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Weighted mean over all rows, with captions dropped at random."""
        drop_text = torch.rand(len(batch["caption"])) < self.text_config.dropout
        with fast_autocast(self.device):
            losses = self.losses(self.model, self.pack(batch, drop_text))
        self._log_bits("train", losses, len(batch["caption"]))
        return losses.total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow before anything can save a checkpoint between the two."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.model)

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep a text tokenizer that was trained here in the run folder: a resumed run needs the same."""
        assert self.parts is not None
        kept = self._kept_text_tokenizer
        trained_here = self.text_config.tokenizer is None and self.trainer.is_global_zero
        trial = getattr(self.trainer, "fast_dev_run", False)
        if trained_here and not trial and not kept.is_file():  # not sooner: the start may fail
            kept.parent.mkdir(parents=True, exist_ok=True)
            self.parts.text_tokenizer.save(kept)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Bits per token of the averaged model."""
        self._measure("val", batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The figures of validation."""
        self._measure("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Sample the configured prompts and show them as rows of frames."""
        writer = getattr(self.logger, "experiment", None)
        prompts = list(self.sample_config.prompts)
        if not prompts or not hasattr(writer, "add_image") or self.trainer.sanity_checking:
            return
        assert self.parts is not None
        clips = Pipeline(self.parts)(prompts, seed=0)
        sheet = contact_sheet(clips)
        writer.add_image("samples", sheet, self.global_step, dataformats="HWC")  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        total_steps = int(self.trainer.estimated_stepping_batches)
        outer = [self.model.embedding.weight, *([] if self.model.head is None else [self.model.head.weight])]
        optimizer, scheduler = configure(self.model, self.optimizer_config, total_steps, outer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.parts is not None
        checkpoint["text_tokenizer_fingerprint"] = self.parts.text_tokenizer.fingerprint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert self.parts is not None
        if "text_tokenizer_fingerprint" not in checkpoint:
            raise ValueError("the checkpoint is of another kind of training: give one of a language model")
        if checkpoint["text_tokenizer_fingerprint"] != self.parts.text_tokenizer.fingerprint():
            raise ValueError(
                "the checkpoint was trained with another text tokenizer: set model.text.tokenizer to the text.model "
                "of the checkpoint's run folder"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the complete model folder, with averaged weights."""
        assert self.parts is not None, "the model is built when fit, validate or test begins"
        save_model(folder, self.parts)

    def _measure(self, stage: str, batch: dict[str, Any]) -> None:
        assert self.parts is not None
        with fast_autocast(self.device):
            losses = self.losses(self.parts.model, self.pack(batch))
        self._log_bits(stage, losses, len(batch["caption"]))

    def _log_bits(self, stage: str, losses: SequenceLosses, batch_size: int) -> None:
        for name, nats in losses.mean.items():
            self.log(
                f"{stage}/bits_per_{name}_token",
                nats / math.log(2),
                prog_bar=name == "video",
                batch_size=batch_size,
                sync_dist=stage != "train",
            )

    def _find_text_tokenizer(self, data: Any) -> TextTokenizer:
        """The user's, else that of the run folder, else one trained on the captions."""
        given = self.text_config.tokenizer
        if given is not None:
            if not Path(given).is_file():
                raise ValueError(f"model.text.tokenizer {given} is no file: give a SentencePiece model, or none")
            return TextTokenizer.from_file(given)
        if self._kept_text_tokenizer.is_file():
            return TextTokenizer.from_file(self._kept_text_tokenizer)
        tokenizer = TextTokenizer.train(data.captions(), vocab_size=self.text_config.vocab_size)
        log.info("trained a text tokenizer of %d tokens on the captions", tokenizer.vocab_size)
        return tokenizer

    @property
    def _kept_text_tokenizer(self) -> Path:
        return Path(self.trainer.default_root_dir) / "text.model"
