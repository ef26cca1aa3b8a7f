"""Several sets of clips in one training: whose turn it is, resuming, and a run through the trainer."""

from collections import Counter
from itertools import islice
from pathlib import Path

import lightning
import pytest

from videogpt_tokenizer.data.batches import ClipBatch, ClipDataModule
from videogpt_tokenizer.data.mixture import ClipMixture
from videogpt_tokenizer.training.reconstruction import TokenizerTraining


def mixture(folder: Path, weights: list[float] | None = None) -> ClipMixture:
    """Films, pictures and larger films; each tells itself by the shape of its batches."""
    shared = {"validation_fraction": 0.2, "max_frame_stride": 2, "flip": True}
    kinds = ((5, 16, 3), (1, 16, 6), (5, 32, 1))
    parts = [ClipDataModule(str(folder), num_frames=t, size=s, batch_size=b, **shared) for t, s, b in kinds]
    return ClipMixture(parts, weights)


def shapes(batches: list[ClipBatch]) -> list[tuple[int, ...]]:
    return [tuple(batch["video"].shape[2:]) for batch in batches]


FILM, PICTURE, LARGE = (5, 16, 16), (1, 16, 16), (5, 32, 32)


def test_parts_take_turns_by_their_weights(numbered: Path) -> None:
    data = mixture(numbered, [3, 2, 1])
    data.setup("fit")
    loader = data.train_dataloader()
    first = shapes(list(islice(loader, 6)))
    assert Counter(first) == {FILM: 3, PICTURE: 2, LARGE: 1}
    assert first[0] == FILM and first != sorted(first), "evenly spread, not one part after the other"
    many = Counter(shapes([batch for _ in range(10) for batch in loader]))
    total = sum(many.values())
    assert total == 10 * len(loader)
    assert all(abs(many[shape] - total * share) <= 3 for shape, share in ((FILM, 1 / 2), (PICTURE, 1 / 3)))


def test_every_clip_of_a_part_is_seen_before_one_comes_again(numbered: Path) -> None:
    data = mixture(numbered)
    data.setup("fit")
    clips = len(data.parts[0].training)
    films = [batch for batch in islice(data.train_dataloader(), 9 * len(data.parts)) if shapes([batch]) == [FILM]]
    seen = [round(float(v)) for batch in films for v in (batch["video"][:, 0, 0, 0, 0] + 1) * 12.75]
    assert len(set(seen[:clips])) == clips


@pytest.mark.parametrize("after", [1, 4, 17, 40])
def test_resumed_equals_uninterrupted(numbered: Path, after: int) -> None:
    whole, left, resumed = (mixture(numbered, [3, 2, 1]).train_dataloader() for _ in range(3))

    def endless(loader):
        while True:
            yield from loader

    wanted = list(islice(endless(whole), after + 12))[after:]
    list(islice(endless(left), after))
    resumed.load_state_dict(left.state_dict())
    found = list(islice(endless(resumed), 12))
    assert all(a["video"].equal(b["video"]) for a, b in zip(wanted, found, strict=True))


def test_another_number_of_parts_begins_anew_and_says_so(numbered: Path) -> None:
    state = mixture(numbered).train_dataloader().state_dict()
    fewer = ClipMixture(mixture(numbered).parts[:2]).train_dataloader()
    with pytest.warns(UserWarning, match="they had 3 parts and have 2"):
        fewer.load_state_dict(state)


def test_other_weights_count_turns_anew_and_say_so(numbered: Path) -> None:
    before = mixture(numbered, [9, 1, 1]).train_dataloader()
    list(islice(iter(before), 11))
    after = mixture(numbered, [1, 1, 1]).train_dataloader()
    with pytest.warns(UserWarning, match="the weights of the data have changed"):
        after.load_state_dict(before.state_dict())
    found = shapes(list(islice(iter(after), 6)))
    assert all(found.count(shape) == 2 for shape in set(found)) and len(set(found)) == 3


def test_the_first_part_validates_and_captions_are_those_of_all(numbered: Path) -> None:
    data = mixture(numbered)
    assert shapes(list(data.val_dataloader())) == [FILM] * len(data.val_dataloader())
    assert len(data.captions()) == sum(len(part.training) for part in data.parts)


@pytest.mark.parametrize("weights", [[1, 2], [1, 0, 1], [1, -1, 1], [1, float("inf"), 1]])
def test_weights_that_do_not_fit_are_refused(numbered: Path, weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must be 3 positive numbers, one for each part"):
        mixture(numbered, weights)


def test_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match="parts is empty"):
        ClipMixture([])


@pytest.mark.parametrize("wrong", [{"size": 20}, {"num_frames": 6}])
def test_sizes_that_the_tokenizer_does_not_take_are_refused_before_any_clip_is_decoded(
    wrong: dict[str, int], numbered: Path, make_tokenizer, tmp_path: Path
) -> None:
    parts = [ClipDataModule(str(numbered), **{"num_frames": 5, "size": 16, **change}) for change in ({}, wrong)]
    training = TokenizerTraining(make_tokenizer().config)
    trainer = lightning.Trainer(accelerator="cpu", max_steps=1, default_root_dir=tmp_path, logger=False)
    with pytest.raises(ValueError, match="the nearest"):
        trainer.fit(training, datamodule=ClipMixture(parts))
    assert not any("training" in vars(part) for part in parts)


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_resumes_within_an_epoch(fit, numbered: Path, tmp_path: Path) -> None:
    def run(place: str, steps: int, resume: Path | None = None) -> list[list[float]]:
        return fit({"datamodule": mixture(numbered, [3, 2, 1])}, tmp_path / place, steps, resume).seen

    whole, begun = run("whole", 31), run("parts", 5)
    assert begun + run("parts", 31, tmp_path / "parts" / "last.ckpt") == whole
