"""Several sets of clips in one training: videos with images, several sizes, several sources.

    data = ClipMixture([ClipDataModule(folder="films", size=128, batch_size=4),
                        ClipDataModule(folder="photos", num_frames=1, size=256)], weights=[3, 1])

Every batch comes from one part, so a part has whatever length, size and batch size suits it. The parts take turns by
their weights, evenly rather than at random, and a resumed run goes on in the same order. The first part validates.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import numpy as np

from videogpt_tokenizer.data.batches import ClipBatch, ClipDataModule
from videogpt_tokenizer.data.loader import ResumableLoader


class ClipMixture(lightning.LightningDataModule):
    """Batches of several `ClipDataModule`s.

    Args:
        parts: The sets of clips. The first one's validation clips validate.
        weights: How often each part gives a batch, in proportion; None takes all equally often.
    """

    def __init__(self, parts: list[ClipDataModule], weights: list[float] | None = None) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts is empty; give at least one set of clips")
        self.parts = parts
        self.weights = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
        if len(self.weights) != len(parts) or not all(0 < weight < np.inf for weight in self.weights):
            raise ValueError(f"weights={weights} must be {len(parts)} positive numbers, one for each part")

    def setup(self, stage: str) -> None:
        """Decode what the stage needs: the first part's clips, and to train those of the others."""
        self.parts[0].setup(stage)
        if stage == "fit":
            for part in self.parts[1:]:
                part.training  # noqa: B018 - decodes them, so that what is wrong is said before any work

    def shapes(self) -> list[tuple[int, int, int]]:
        """Frames, height and width of the clips of each part."""
        return [shape for part in self.parts for shape in part.shapes()]

    def of_few_clips(self) -> "ClipMixture":
        """The same with a batch of clips of each part: for a look at what it gives."""
        return ClipMixture([part.of_few_clips() for part in self.parts], self.weights)

    def batches_per_epoch(self) -> tuple[int, int]:
        """Batches to train on and to validate on, in one process, if every clip can be decoded. Opens none."""
        parts = [part.batches_per_epoch() for part in self.parts]
        return sum(training for training, _ in parts), parts[0][1]

    def memory_bytes(self, few: "ClipMixture") -> int:
        """What its decoded clips will take, if they are as long as the few."""
        return sum(part.memory_bytes(of_few) for part, of_few in zip(self.parts, few.parts, strict=True))

    def captions(self) -> list[str]:
        """Captions of all training clips."""
        return [caption for part in self.parts for caption in part.captions()]

    def train_dataloader(self) -> "_MixtureLoader":
        return _MixtureLoader([part.train_dataloader() for part in self.parts], self.weights)

    def val_dataloader(self) -> ResumableLoader:
        """The first part's."""
        return self.parts[0].val_dataloader()

    test_dataloader = val_dataloader


class _MixtureLoader:
    """Batches of shuffled loaders in turn, each as often as its weight says; resumes exactly.

    At every step the loader comes next that lags furthest behind its share, the first of several: a function of the
    step alone, so that all processes take the same.
    """

    def __init__(self, loaders: Sequence[ResumableLoader], weights: Sequence[float]) -> None:
        self.loaders = list(loaders)
        self._share = np.asarray(weights) / np.sum(weights)
        self._given = np.zeros(len(self.loaders), dtype=np.int64)

    def __len__(self) -> int:
        """As many batches as the loaders have in all."""
        return sum(map(len, self.loaders))

    def __iter__(self) -> Iterator[ClipBatch]:
        batches = [_endless(loader) for loader in self.loaders]
        for _ in range(len(self)):
            turn = int(np.argmax(self._share * (self._given.sum() + 1) - self._given))
            batch = next(batches[turn])
            self._given[turn] += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        loaders = [loader.state_dict() for loader in self.loaders]
        return {"given": self._given.tolist(), "share": self._share.tolist(), "loaders": loaders}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved place. Where the number of parts has changed there is none, and a warning says so.

        Where the weights have changed every part goes on at its place, and turns are counted anew.
        """
        if len(state_dict["loaders"]) != len(self.loaders):
            before, now = len(state_dict["loaders"]), len(self.loaders)
            warnings.warn(f"the data begin anew: they had {before} parts and have {now}", stacklevel=2)
            return
        if np.allclose(state_dict["share"], self._share):
            self._given = np.asarray(state_dict["given"], dtype=np.int64)
        else:
            warnings.warn("the weights of the data have changed: parts take turns by the new ones", stacklevel=2)
        for loader, state in zip(self.loaders, state_dict["loaders"], strict=True):
            loader.load_state_dict(state)


def _endless(loader: ResumableLoader) -> Iterator[Any]:
    while True:
        yield from loader
