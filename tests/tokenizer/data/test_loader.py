"""The loader goes on exactly where it was left: by itself, with workers, and inside a Lightning trainer."""

import multiprocessing
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.utils.data import Dataset

from videogpt_tokenizer.data.loader import ResumableLoader


@dataclass
class Numbers(Dataset[float]):
    """Item i is i."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> float:
        return float(index)


@dataclass
class NumbersOfEpoch:
    """Item i of epoch e is 100 e + i; a data set whose items differ from epoch to epoch needs no more."""

    count: int

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, epoch: int) -> float:
        return 100.0 * epoch + index


def packed(items: list[float]) -> dict[str, Any]:
    """A batch that tells which process packed it."""
    return {"items": items, "by": multiprocessing.current_process().pid}


def lists(batches: Any) -> list[list[float]]:
    return [batch.tolist() for batch in batches]


def test_every_epoch_has_every_item_in_an_order_of_its_own() -> None:
    loader = ResumableLoader(Numbers(10), batch_size=4)
    epochs = [[item for batch in lists(loader) for item in batch] for _ in range(3)]
    assert len(loader) == 3
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[0])


def test_order_depends_on_the_seed_alone() -> None:
    first, second, other = (lists(ResumableLoader(Numbers(20), seed=seed)) for seed in (3, 3, 4))
    torch.manual_seed(1)
    assert first == second != other


@pytest.mark.parametrize("drop_last, sizes", [(False, [4, 4, 2]), (True, [4, 4])])
@pytest.mark.parametrize("shuffle", [True, False])
def test_last_batch(drop_last: bool, sizes: list[int], shuffle: bool) -> None:
    loader = ResumableLoader(Numbers(10), batch_size=4, shuffle=shuffle, drop_last=drop_last)
    assert [len(batch) for batch in loader] == sizes


@pytest.mark.parametrize("seen, num_workers", [(0, 0), (1, 0), (2, 0), (3, 0), (5, 0), (1, 1), (5, 1)])
def test_resumes_in_the_middle_of_an_epoch(seen: int, num_workers: int) -> None:
    def loader() -> ResumableLoader:
        return ResumableLoader(NumbersOfEpoch(10), batch_size=4, num_workers=num_workers)

    uninterrupted = loader()
    expected = lists(uninterrupted) + lists(uninterrupted) + lists(uninterrupted)
    interrupted, resumed = loader(), loader()
    stream = (batch for _ in range(2) for batch in interrupted)
    assert lists(next(stream) for _ in range(seen)) == expected[:seen]
    resumed.load_state_dict(interrupted.state_dict())
    assert lists(resumed) == expected[seen : seen + 3]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_are_asked_by_epoch_and_packed_where_they_are_loaded(num_workers: int) -> None:
    loader = ResumableLoader(NumbersOfEpoch(6), batch_size=3, num_workers=num_workers, collate_fn=packed)
    for epoch in range(2):
        batches = list(loader)
        assert sorted(item for batch in batches for item in batch["items"]) == [100 * epoch + i for i in range(6)]
        assert len({batch["by"] for batch in batches}) == max(1, num_workers)
        assert (batches[0]["by"] == multiprocessing.current_process().pid) == (num_workers == 0)


def test_part_of_an_epoch_at_a_time_still_sees_every_item() -> None:
    loader = ResumableLoader(Numbers(12), batch_size=2)
    seen = [batch for _ in range(3) for batch in lists(islice(loader, 2))]
    assert sorted(number for batch in seen for number in batch) == list(range(12))


def test_without_shuffling_every_iteration_starts_at_the_first_item() -> None:
    loader = ResumableLoader(Numbers(6), batch_size=2, shuffle=False)
    assert next(iter(loader)).tolist() == [0, 1]
    assert lists(loader) == lists(loader) == [[0, 1], [2, 3], [4, 5]]


def test_loading_draws_no_random_number_of_the_model() -> None:
    before = torch.get_rng_state()
    list(ResumableLoader(Numbers(6), batch_size=2))
    assert torch.get_rng_state().equal(before)


def test_a_changed_batch_size_begins_a_new_epoch_and_says_so() -> None:
    old, new = (ResumableLoader(NumbersOfEpoch(8), batch_size=size) for size in (2, 4))
    next(iter(old))
    with pytest.warns(UserWarning, match="batch_size was 2 and is 4"):
        new.load_state_dict(old.state_dict())
    assert sorted(number for batch in lists(new) for number in batch) == [100 + i for i in range(8)]


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"num_workers": -1}, {"batch_size": 9, "drop_last": True}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ResumableLoader(Numbers(8), **settings)


def batches_of_process(rank: int, store: Path) -> list[list[float]]:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    batches = lists(ResumableLoader(Numbers(9), batch_size=2))
    distributed.destroy_process_group()
    return batches


@pytest.mark.skipif(sys.platform != "linux", reason="starts processes as only Linux can")
def test_two_processes_share_an_epoch(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:  # which raises here what is raised there
        shares = pool.starmap(batches_of_process, [(rank, tmp_path / "store") for rank in (0, 1)], chunksize=1)
    assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[1]] == [2, 2, 1]
    numbers = sorted(number for share in shares for batch in share for number in batch)
    assert sorted(set(numbers)) == list(range(9)) and len(numbers) == 10


@pytest.mark.parametrize(
    "first, workers, options",
    [
        (2, 0, {}),
        (4, 0, {}),
        (6, 0, {}),
        (6, 1, {}),
        (5, 0, {"limit_train_batches": 3}),
        (6, 0, {"limit_train_batches": 3}),
        (6, 0, {"val_check_interval": 2}),
    ],
)
def test_a_resumed_fit_equals_an_uninterrupted_one(fit, tmp_path: Path, first: int, workers: int, options) -> None:
    """14 items in batches of 4: 4 steps an epoch, the last with 2 items."""

    def data() -> dict[str, Any]:
        training = ResumableLoader(NumbersOfEpoch(14), batch_size=4, num_workers=workers)
        validation = ResumableLoader(Numbers(6), batch_size=4, shuffle=False)
        return {"train_dataloaders": training, "val_dataloaders": validation}

    whole = fit(data(), tmp_path / "whole", 11, **options)
    begun = fit(data(), tmp_path / "parts", first, **options)
    resumed = fit(data(), tmp_path / "parts", 11, resume=tmp_path / "parts" / "last.ckpt", **options)
    assert begun.seen + resumed.seen == whole.seen
    assert len(whole.seen) == 11
    assert resumed.weight.equal(whole.weight)
