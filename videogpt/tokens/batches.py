"""Token shards -> batches for the language model.

    data = TokenData(folder="shards", validation_fraction=0.05, batch_size=32)
    next(iter(data.train_dataloader()))       # {"codes": int64 (B, T, H, W), "caption": [str, ...]}
    data.collate_training = my_collate        # rows -> another kind of batch, made in the loader's workers

Refuses what `TokenShardReader` refuses, two folders that do not match, and a single clip, which cannot be split.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import Dataset

from videogpt.tokens.reader import TokenRow, TokenShardReader
from videogpt.tokens.shards import TokenShardsManifest
from videogpt_tokenizer.data.loader import ResumableLoader
from videogpt_tokenizer.data.split import split_by_name

# B batch, T latent frames, H/W latent height and width

Collate = Callable[[Sequence[TokenRow]], Any]
"""Rows -> a batch; runs in the loader's workers."""


def collate(rows: Sequence[TokenRow]) -> dict[str, Any]:
    """Stack rows into a batch."""
    return {"codes": torch.stack([row.codes_THW for row in rows]), "caption": [row.caption for row in rows]}


class _Side(Dataset[TokenRow]):
    """The rows of a reader that train, or those that validate."""

    def __init__(self, rows: TokenShardReader, numbers: Sequence[int], seed: int | None = None) -> None:
        """Takes a seed where something may be drawn at random for each row, as in training."""
        self.rows, self.numbers, self.seed = rows, numbers, seed

    def __len__(self) -> int:
        return len(self.numbers)

    def item(self, index: int, epoch: int) -> TokenRow:
        """A row, with the random numbers that are its own in this epoch."""
        draw = None if self.seed is None else np.random.default_rng((self.seed, epoch, index))
        return self.rows[self.numbers[index]]._replace(draw=draw)


class TokenData(lightning.LightningDataModule):
    """Training and validation batches of token shards."""

    def __init__(
        self,
        folder: str,
        validation_folder: str | None = None,
        validation_fraction: float = 0.05,
        batch_size: int = 16,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """
        Args:
            folder: token shards to train on.
            validation_folder: token shards to validate on, made by the same tokenizer.
            validation_fraction: where there is no validation_folder, the share of clips kept for validation,
                at least one. All windows of a clip fall on the same side.
            batch_size: rows per batch and process.
            seed: of the order of the training rows.
            num_workers: loader processes; 0 reads in the training process, fast since rows are memory-mapped.
        """
        super().__init__()
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction={validation_fraction} must lie between 0 and 1")
        self.folder, self.validation_folder, self.validation_fraction = folder, validation_folder, validation_fraction
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.collate_training: Collate = collate
        self.collate_validation: Collate = collate

    def setup(self, stage: str) -> None:
        """Open the folders, so that what is wrong with them is said before any work."""
        _ = self._sides  # opens them

    @property
    def manifest(self) -> TokenShardsManifest:
        """What the training shards hold: grid, codebook size, fps, fingerprint of the tokenizer."""
        return self._rows.manifest

    def captions(self) -> list[str]:
        """Captions of the training rows, to train a text tokenizer on."""
        return [self._rows.captions[row] for row in self._sides[0].numbers]

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled anew in every epoch; resumes within one. A last, smaller batch is left out."""
        return self._loader(self._sides[0], shuffle=True)

    def val_dataloader(self) -> ResumableLoader:
        """In the order of the shards."""
        return self._loader(self._sides[1], shuffle=False)

    test_dataloader = val_dataloader

    @cached_property
    def _rows(self) -> TokenShardReader:
        return TokenShardReader(self.folder)

    @cached_property
    def _sides(self) -> tuple[_Side, _Side]:  # that of training, that of validation
        rows = self._rows
        if self.validation_folder is None:
            training, held = split_by_name(rows.clips, self.validation_fraction)
            if not training:
                raise ValueError(f"{self.folder} holds one clip, nothing to split: give a validation_folder")
            return _Side(rows, training, self.seed), _Side(rows, held)
        validation = TokenShardReader(self.validation_folder, rows.manifest.tokenizer_fingerprint)
        if validation.manifest.grid != rows.manifest.grid:
            raise ValueError(
                f"validation_folder {self.validation_folder} holds {validation.manifest.grid}, "
                f"{self.folder} holds {rows.manifest.grid}: tokenize both alike"
            )
        return _Side(rows, range(len(rows)), self.seed), _Side(validation, range(len(validation)))

    def _loader(self, rows: _Side, *, shuffle: bool) -> ResumableLoader:
        return ResumableLoader(
            rows,
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            drop_last=shuffle and len(rows) >= self.batch_size,
            num_workers=self.num_workers,
            collate_fn=self.collate_training if shuffle else self.collate_validation,
        )
