"""A data loader that goes on exactly where a checkpoint left it, in the middle of an epoch, with workers too.

    loader = ResumableLoader(dataset, batch_size=16, seed=0, num_workers=4, collate_fn=pack)
    for batch in loader: ...
    state = loader.state_dict()              # the Lightning trainer keeps it in its checkpoints by itself
    loader.load_state_dict(state)            # the next batch is the one that would have come next

The data set has a length and either `dataset[index]` or, where items differ from epoch to epoch, `item(index, epoch)`.
With `num_workers` the loading processes ask for the items and `collate_fn` packs them there: the training process gets
whole batches. The order is a pure function of (seed, epoch), and what counts as seen is what was handed out, not what
was fetched ahead. Under `torch.distributed` every process gets its own share of each epoch.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, default_collate


@runtime_checkable
class EpochDataset(Protocol):
    """A data set whose items differ from epoch to epoch, by what is drawn for each: it needs these two, no base class.

    `item` runs in a loading process if there are any. It is a pure function of its arguments, or a resumed run would
    differ from an uninterrupted one: draw from a generator seeded with (seed, epoch, index). A `Subset` of such a data
    set has no `item`, and gives what `dataset[index]` gives.
    """

    def __len__(self) -> int: ...
    def item(self, index: int, epoch: int) -> Any: ...


class ResumableLoader:
    """Batches of a map-style data set, in an order that can be taken up again.

    With `shuffle`, an iteration goes on where the last one stopped, into the next epoch if need be, and gives
    `len(loader)` batches: a trainer that uses part of an epoch at a time still sees every item. Without,
    every iteration starts at the first item, which is what validation wants.

    Not a subclass of `DataLoader`, which Lightning takes apart and builds anew when it runs on several
    devices; this one shares the items out by itself.

    Args:
        dataset: Anything with `__len__` and `__getitem__`, or an `EpochDataset`.
        batch_size: Items in a batch, for each process.
        shuffle: A new order in every epoch.
        seed: Of the order.
        drop_last: Leave out the last batch of an epoch when it is smaller.
        num_workers: Loading processes; 0 loads in this one.
        collate_fn: Items -> batch, in the loading process; None stacks tensors and numbers.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | EpochDataset,
        *,
        batch_size: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        self.dataset: Any = dataset
        self.batch_size, self.shuffle, self.seed, self.drop_last = batch_size, shuffle, seed, drop_last
        self.num_workers, self.collate_fn = num_workers, collate_fn
        self._epoch, self._batch = 0, 0
        self._resumes = False
        if not len(self):
            raise ValueError(f"{len(self.dataset)} items give no batch of {batch_size}; add data or lower batch_size")

    def __len__(self) -> int:
        """Batches in an epoch, for each process."""
        items = -(-len(self.dataset) // _world_size())
        return items // self.batch_size if self.drop_last else -(-items // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if not self.shuffle and not self._resumes:
            self._epoch, self._batch = 0, 0
        self._resumes = False
        length = len(self)
        loader = DataLoader(
            _Keyed(self.dataset),
            batch_sampler=self._next_batches(length),
            num_workers=self.num_workers,
            collate_fn=self.collate_fn or default_collate,
            pin_memory=torch.cuda.is_available(),  # a step that is under way is not waited for
            # Its own generator: loading draws no number from the one that the model uses.
            generator=torch.Generator().manual_seed(self.seed),
        )
        for batch in loader:
            self._epoch, self._batch = divmod(self._epoch * length + self._batch + 1, length)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, epoch and batches of it that were handed out, and what that place refers to."""
        place = {"epoch": self._epoch, "batch": self._batch}
        data = {"num_items": len(self.dataset), "batch_size": self.batch_size, "num_processes": _world_size()}
        return {**place, **data, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at a saved place.

        Where the data, the batch size or the number of processes have changed since, there is no such place:
        the next epoch is begun instead, and a warning says so.
        """
        now = self.state_dict()
        changed = [name for name in now if name not in ("epoch", "batch") and state_dict[name] != now[name]]
        self._epoch, self._batch, self._resumes = state_dict["epoch"], state_dict["batch"], True
        if changed and self._batch:
            what = ", ".join(f"{name} was {state_dict[name]} and is {now[name]}" for name in changed)
            warnings.warn(f"the interrupted epoch cannot be finished, a new one begins: {what}", stacklevel=2)
            self._epoch, self._batch = self._epoch + 1, 0

    def _next_batches(self, count: int) -> list[list[tuple[int, int]]]:
        """(epoch, index) of every item in the next `count` batches."""
        batches = self._batches_of_epoch(self._epoch)[self._batch :]
        if len(batches) < count:
            batches += self._batches_of_epoch(self._epoch + 1)
        return batches[:count]

    def _batches_of_epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        processes = _world_size()
        # Processes must do equally many steps: a few items come twice.
        order = np.resize(order, -(-len(order) // processes) * processes)
        mine = order[distributed.get_rank() if processes > 1 else 0 :: processes].tolist()
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return [[(epoch, index) for index in mine[start : start + self.batch_size]] for start in starts]


class _Keyed(Dataset[Any]):
    """A data set asked by (epoch, index), so that loading processes need not be told of a new epoch."""

    def __init__(self, dataset: Dataset[Any] | EpochDataset) -> None:
        self.dataset: Any = dataset
        self.differs_by_epoch = isinstance(dataset, EpochDataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        return self.dataset.item(index, epoch) if self.differs_by_epoch else self.dataset[index]


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
