"""Training of the token language model as a LightningModule.

    videogpt fit --config configs/videogpt/tiny.yaml

Rows of token shards come from `TokenData`, packed into sequences by the task in the loader's workers. The loss is
cross-entropy over each modality's own ids; what is logged is in bits per token of each modality. What is validated,
sampled from and saved is the moving average of the weights.
"""

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from videogpt.layouts.config import PREFIX_CODES, LayoutConfig, LayoutRules
from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.task import Task, find_task
from videogpt.model.config import VideoGPTConfig
from videogpt.model.heads import levels_of
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT
from videogpt.pipeline.names import load_tokenizer
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.sample_files import contact_sheet
from videogpt.pipeline.saved_model import SavedModel, save_model
from videogpt.sampling.config import SamplingConfig
from videogpt.training.blocks import BlocksConfig, prepare_blocks
from videogpt.training.captions import KEPT_NAME, TextConfig, find_text_tokenizer, pack_rows
from videogpt.training.start import Start
from videogpt_tokenizer.optim.averages import averaged
from videogpt_tokenizer.optim.configure import OptimizerConfig, configure
from videogpt_tokenizer.optim.precision import check_precision, fast_autocast
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@dataclass(frozen=True, kw_only=True)
class SampleLogConfig:
    """Videos sampled at every validation, shown in TensorBoard."""

    prompts: tuple[str, ...] = ()
    """One row of frames each; none by default."""
    sampling: SamplingConfig = SamplingConfig()
    """Temperature, truncation and guidance; saved with the model as its own settings."""


class VideoGPTTraining(lightning.LightningModule):
    """Next-token training of a `VideoGPT` on token shards.

    The network is made when the data are known (`configure_model`): their manifest gives grid and vocabulary.
    """

    making_network: Callable[[], AbstractContextManager[None]] = staticmethod(nullcontext)
    """The network is made within: a dry run has it made without memory."""
    model: VideoGPT
    task: Task
    saved: SavedModel

    def __init__(
        self,
        tokenizer: str,
        model: VideoGPTConfig | None = None,
        text: TextConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        samples: SampleLogConfig | None = None,
        task: str = "text_to_video",
        rules: LayoutRules | None = None,
        without_padding: bool = False,
        blocks: BlocksConfig | None = None,
        guessed_lines: float = 0.0,
        pretrained: str | None = None,
        tasks: dict[str, float] | None = None,
    ) -> None:
        """
        Args:
            tokenizer: folder or name of the video tokenizer that made the token shards.
            model: size of the decoder.
            text: text tokenizer, caption dropout and loss weight.
            optimizer: learning rate, decay and averaging.
            samples: videos to sample at every validation.
            task: what is given and what is predicted: the name of a file in videogpt/layouts.
            rules: who sees whom, beyond what the task says.
            without_padding: train on a batch as documents of one sequence, one after the other, without padding.
            blocks: compiled, or with less memory; the losses are the same up to rounding.
            guessed_lines: share of the grid's lines that are read as the guesses of the sampling lane `next-row`, of 0
                to 1; what is to be predicted stays. Not in validation.
            pretrained: folder or name of a model to start from, in place of random weights. Leave out `model` and
                text.tokenizer, which are its own.
            tasks: several tasks by their weight, in place of `task`: each batch is of one of them. The first is what
                validation measures.
        """
        super().__init__()
        weights = list((tasks or {}).values())
        if tasks is not None and (task != "text_to_video" or not all(0 < x < math.inf for x in weights or [0])):
            remedy = "give each a weight above 0, and leave task out"
            raise ValueError(f"tasks is {tasks}, and task {task}: {remedy}")
        if not 0 <= guessed_lines <= 1:
            raise ValueError(f"guessed_lines is {guessed_lines}; it must lie in [0, 1], for example 0.3")
        self.tokenizer_folder, self.guessed_lines = tokenizer, guessed_lines
        self.text_config = text or TextConfig()
        self.start: Start | None = None if pretrained is None else Start(pretrained, model, self.text_config)
        own = VideoGPTConfig() if self.start is None else self.start.model.network.config
        # Tasks may add ids to those of the model.
        self.model_config = dataclasses.replace(own, vocab_size=0) if model is None else model
        self.optimizer_config = optimizer or OptimizerConfig(learning_rate=2e-3, weight_decay=0.1)
        self.sample_config = samples or SampleLogConfig()
        self.blocks_config = blocks or BlocksConfig()
        self.task_kinds = {find_task(name): weight for name, weight in (tasks or {task: 1.0}).items()}
        self.rules, self.without_padding = rules or LayoutRules(), without_padding
        if self.sample_config.prompts and not any("text_to_video" in kind.answers for kind in self.task_kinds):
            names = ", ".join(tasks or [task])
            raise ValueError(f"samples.prompts are given, and {names} does not draw from text alone: leave them out")
        if self.rules.bidirectional_prefix and self.text_config.loss_weight:
            raise ValueError(
                f"text.loss_weight is {self.text_config.loss_weight}, but with rules.bidirectional_prefix "
                "a text row sees what it is to predict: set it to 0"
            )
        configs = {
            "model": self.model_config,
            "text": self.text_config,
            "optimizer": self.optimizer_config,
            "samples": self.sample_config,
            "rules": self.rules,
        }
        # Plain types, so that a checkpoint opens with weights_only=True.
        plain = {name: dataclasses.asdict(config) for name, config in configs.items()}
        others = {"task": task, "tasks": tasks, "without_padding": without_padding, "guessed_lines": guessed_lines}
        self.save_hyperparameters({"tokenizer": tokenizer, **plain, **others, "pretrained": pretrained})

    def check_precision(self, precision: object) -> None:
        """Refuse a `trainer.precision` that the training cannot have."""
        check_precision(precision)

    def setup(self, stage: str) -> None:
        self.check_precision(self.trainer.precision)

    def configure_model(self) -> None:
        """Build task and network from the shards' manifest; called by Lightning once the data module is set up."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(self, "saved"):
            self._build(data)
        pack = partial(pack_rows, task=self.task, text_tokenizer=self.saved.text_tokenizer, text=self.text_config)
        training: dict[str, Any] = {"without_padding": self.without_padding, "guessed_lines": self.guessed_lines}
        if len(self.task_kinds) > 1:
            training["mixture"] = dict(zip(self.saved.tasks, self.task_kinds.values(), strict=True))
        data.collate_training, data.collate_validation = partial(pack, **training), pack

    def _build(self, data: Any) -> None:
        manifest = data.manifest
        tokenizer = load_tokenizer(self.tokenizer_folder)
        if tokenizer.fingerprint() != manifest.tokenizer_fingerprint:
            raise ValueError(
                f"tokenizer {self.tokenizer_folder} did not make the token shards (the manifest names another): "
                "run `videogpt tokenize` with it, or name the tokenizer that did"
            )
        own: tuple[str, ...] = ()
        if self.start is not None:
            text_tokenizer, own = self.start.model.text_tokenizer, self.start.model.task.config.prefix_codes
        else:
            text_tokenizer = find_text_tokenizer(self.text_config, Path(self.trainer.default_root_dir), data.captions)
        wanted = {*own, *chain.from_iterable(kind.prefix_codes for kind in self.task_kinds)}
        layout = LayoutConfig(
            text_vocab_size=text_tokenizer.vocab_size,
            codebook_size=tokenizer.codebook_size,
            max_text_tokens=self.text_config.max_tokens,
            latent_frames=manifest.grid.time,
            latent_height=manifest.grid.height,
            latent_width=manifest.grid.width,
            rules=self.rules,
            prefix_codes=tuple(kind for kind in PREFIX_CODES if kind in wanted),
        )
        tasks = [kind(layout) for kind in self.task_kinds]
        self.task = tasks[0]
        if self.start is not None:
            self.start.check(self.task, tokenizer)
        vocab_size = self.task.vocabulary.size
        if self.model_config.vocab_size not in (0, vocab_size):
            raise ValueError(
                f"model.vocab_size is {self.model_config.vocab_size}, and text and video have {vocab_size} tokens: "
                "leave it out"
            )
        config = dataclasses.replace(self.model_config, vocab_size=vocab_size)
        with self.making_network():
            self.model = VideoGPT(self._with_levels(config, tokenizer) if config.by_levels else config)
            if self.start is not None:
                self.model.load_state_dict(self.start.weights(self.task))
                self.start = None
            self.average = averaged(self.model, self.optimizer_config.ema_decay)
        prepare_blocks(self.model, self.blocks_config)  # not those of the average, which validates
        averaged_model = self.average.module
        assert isinstance(averaged_model, VideoGPT)
        self.saved = SavedModel(
            tokenizer=tokenizer,
            text_tokenizer=text_tokenizer,
            task=self.task,
            others=tuple(tasks[1:]),
            network=averaged_model.eval(),
            fps=manifest.fps,
            sampling=self.sample_config.sampling,
        )

    def sizes(self, batch: TrainingSequence) -> dict[str, int]:
        """What a batch holds, by name."""
        rows, video = batch.ids_BN.numel(), batch.ids_BN[:, batch.rows_of("video")].numel()
        return {"video tokens": video, "rows with captions and padding": rows}

    def _with_levels(self, config: VideoGPTConfig, tokenizer: VideoTokenizer) -> VideoGPTConfig:
        """The digits of this tokenizer's codes, and where the codes begin."""
        start, size = self.task.vocabulary.ids["video"].start, tokenizer.codebook_size
        levels = config.code_levels or levels_of(tokenizer.config.quantizer, size)
        if math.prod(levels) != size or config.code_start not in (0, start):
            raise ValueError(
                f"model.code_levels {levels} from id {config.code_start or start} on are not the {size} codes from id "
                f"{start} on: leave code_levels and code_start out"
            )
        return dataclasses.replace(config, code_levels=levels, code_start=start)

    def losses(self, network: VideoGPT, sequence: TrainingSequence) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats of a batch: the mean over all rows by their weight, which training makes small, and by modality."""
        nats_BN = row_nats(network, sequence, self.task.vocabulary)
        weighted, means = [], {}
        for modality in self.task.vocabulary.ids:
            rows = sequence.rows_of(modality)
            weight_BM = sequence.loss_weight_BN[:, rows]
            weighted.append((nats_BN[:, rows] * weight_BM).flatten().sum())
            means[modality] = weighted[-1].detach() / weight_BM.sum().clamp(min=1e-9)
        return torch.stack(weighted).sum() / sequence.loss_weight_BN.sum(), means

    def training_step(self, batch: TrainingSequence, batch_idx: int) -> Tensor:
        """The loss of the model, whose bits are logged."""
        return self._measure("train", self.model, batch)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the average follow before anything can save a checkpoint between the two."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.model)

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep a text tokenizer that was trained here in the run folder: a resumed run needs the same."""
        kept = Path(self.trainer.default_root_dir) / KEPT_NAME
        trained_here = self.text_config.tokenizer is None and self.trainer.is_global_zero
        trial = getattr(self.trainer, "fast_dev_run", False)
        if trained_here and not trial and not kept.is_file():  # not sooner: the start may fail
            kept.parent.mkdir(parents=True, exist_ok=True)
            self.saved.text_tokenizer.save(kept)

    def validation_step(self, batch: TrainingSequence, batch_idx: int) -> None:
        """Bits per token of the averaged model."""
        self._measure("val", self.saved.network, batch)

    def test_step(self, batch: TrainingSequence, batch_idx: int) -> None:
        """The figures of validation."""
        self._measure("test", self.saved.network, batch)

    def on_validation_epoch_end(self) -> None:
        """Sample the configured prompts and show them as rows of frames."""
        writer = getattr(self.logger, "experiment", None)
        prompts = list(self.sample_config.prompts)
        if not prompts or not hasattr(writer, "add_image") or self.trainer.sanity_checking:
            return
        sheet = contact_sheet(Pipeline(self.saved)(prompts, seed=0))
        writer.add_image("samples", sheet, self.global_step, dataformats="HWC")  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        total_steps = self.trainer.estimated_stepping_batches
        optimizer, scheduler = configure(self.model, self.optimizer_config, total_steps, self.model.outer_matrices)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["text_tokenizer_fingerprint"] = self.saved.text_tokenizer.fingerprint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "text_tokenizer_fingerprint" not in checkpoint:
            raise ValueError("the checkpoint is of another kind of training: give one of a language model")
        if checkpoint["text_tokenizer_fingerprint"] != self.saved.text_tokenizer.fingerprint():
            raise ValueError(
                "the checkpoint was trained with another text tokenizer: set model.text.tokenizer to the text.model "
                "of the checkpoint's run folder"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the complete model folder, with averaged weights."""
        assert hasattr(self, "saved"), "the model is built when fit, validate or test begins"
        save_model(folder, self.saved)

    def _measure(self, stage: str, network: VideoGPT, batch: TrainingSequence) -> Tensor:
        """The loss of a batch; logs the bits of each modality."""
        with fast_autocast(self.device):
            loss, means = self.losses(network, batch)
        for name, nats in means.items():
            self.log(
                f"{stage}/bits_per_{name}_token",
                nats / math.log(2),
                prog_bar=name == "video",
                batch_size=len(batch.ids_BN),
                sync_dist=stage != "train",
            )
        return loss
