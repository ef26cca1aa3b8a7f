"""Training the language model: the loss is what it says, runs resume exactly, and what does not fit is refused."""

import math
from collections.abc import Callable
from itertools import islice
from typing import Literal
from unittest.mock import Mock

import lightning
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import LambdaCallback

from videogpt import Pipeline, VideoGPTConfig
from videogpt.layouts.config import LayoutRules
from videogpt.layouts.guesses import with_guesses
from videogpt.runs.checkpoint import RandomState
from videogpt.runs.keep_pretrained import KeepPretrained
from videogpt.tokens.batches import TokenData
from videogpt.tokens.writer import tokenize_clips
from videogpt.training.blocks import BlocksConfig
from videogpt.training.captions import TextConfig
from videogpt.training.next_token import SampleLogConfig, VideoGPTTraining
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.optim.configure import OptimizerConfig

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_tokenizer):
    """Tokens of a few clips, and the tokenizer that made them."""
    root = tmp_path_factory.mktemp("material")
    assert len(list(write_world(root / "clips", clips=10, seed=0))) == 10
    tokenizer = make_tokenizer(levels=(4, 4))
    tokenizer.save_pretrained(root / "tokenizer")
    tokenize_clips(ClipFolder(root / "clips"), tokenizer, root / "tokens", num_frames=5, size=32)
    return root


BY_LEVEL = {"head": "levels", "embedding": "levels"}


def training(
    material, kind: Literal["adamw", "muon"] = "adamw", settings=None, network=None, **text
) -> VideoGPTTraining:
    torch.manual_seed(0)
    return VideoGPTTraining(
        **(settings or {}),
        tokenizer=str(material / "tokenizer"),
        model=VideoGPTConfig(width=32, depth=2, heads=2, kv_heads=1, **(network or {})),
        text=TextConfig(vocab_size=300, **text),
        optimizer=OptimizerConfig(kind=kind, learning_rate=5e-3, warmup_steps=2, ema_decay=0.9),
    )


def trainer(root, max_steps: int, **extra) -> lightning.Trainer:
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    return lightning.Trainer(default_root_dir=root, accelerator="cpu", max_steps=max_steps, **quiet, **extra)


def data(material) -> TokenData:
    return TokenData(folder=str(material / "tokens"), batch_size=4, validation_fraction=0.2)


def after_step(number: int, do: Callable[[lightning.Trainer], None]) -> lightning.Callback:
    """What is to be done once that step is over."""
    return LambdaCallback(on_train_batch_end=lambda trainer, *_: do(trainer) if trainer.global_step == number else None)


@pytest.mark.parametrize("network", [{}, BY_LEVEL], ids=["flat", "by level"])
def test_bits_fall_below_those_of_uniform_codes(network, material, tmp_path):
    module = training(material, network=network)
    run = trainer(tmp_path, 60)
    run.fit(module, data(material))
    bits = run.validate(module, data(material), verbose=False)[0]["val/bits_per_video_token"]
    assert 0 < bits < math.log2(16) - 0.5
    assert run.test(module, data(material), verbose=False)[0]["test/bits_per_video_token"] == bits


def test_the_loss_is_the_weighted_mean_over_each_modality_s_own_ids(material, tmp_path):
    module = training(material, loss_weight=0.3)
    shards = data(material)
    trainer(tmp_path, 1).fit(module, shards)
    sequence = next(iter(shards.val_dataloader()))
    loss, _ = module.losses(module.model, sequence)
    logits = module.model(sequence)
    total = weights = 0.0
    for row in range(sequence.targets_BN.shape[1]):
        ids = module.task.vocabulary.ids["text" if row < sequence.visibility.body_start else "video"]
        for clip, target in enumerate(sequence.targets_BN[:, row].tolist()):
            weight = float(sequence.loss_weight_BN[clip, row])
            if weight:
                own = logits[clip, row, ids.start : ids.stop]
                total += weight * float(F.cross_entropy(own[None], torch.tensor([target - ids.start])))
                weights += weight
    assert float(loss) == pytest.approx(total / weights, rel=1e-4)


def test_a_mixture_is_learned_saved_and_loaded(material, tmp_path):
    weights = {"text_to_video": 1.0, "infill": 3.0}
    module, shards = training(material, settings={"tasks": weights}), data(material)
    trainer(tmp_path, 40).fit(module, shards)
    given = module.task.vocabulary.to_ids("given", torch.tensor([0, 15]))
    loaders = [shards.train_dataloader() for _ in range(2)]
    batches, again = ([batch for _ in range(12) for batch in loader] for loader in loaders)
    shown = [(batch.ids_BN >= int(given[0])).any(dim=1) for batch in batches]
    assert all(rows.all() or not rows.any() for rows in shown), "a batch is of one task"
    assert 0.5 < sum(bool(rows.any()) for rows in shown) / len(shown) < 0.95
    for batch in shards.val_dataloader():
        assert int(batch.ids_BN.max()) < int(given[0]), "validation is of the first task"
    assert all(torch.equal(a.ids_BN, b.ids_BN) for a, b in zip(batches, again, strict=True))
    module.save_pretrained(tmp_path / "pretrained")
    model = Pipeline.from_pretrained(tmp_path / "pretrained", device="cpu").model
    assert [task.name for task in model.tasks] == list(weights)
    assert model.task_for("infill").name == "infill" and model.task_for("continuation").name == "text_to_video"


def test_infill_alone_is_validated_on_what_it_learns_and_always_the_same(material, tmp_path):
    module, shards = training(material, settings={"task": "infill"}), data(material)
    trainer(tmp_path, 2).fit(module, shards)
    batches, again = (list(shards.val_dataloader()) for _ in range(2))
    given = int(module.task.vocabulary.to_ids("given", torch.tensor(0)))
    assert all((batch.ids_BN >= given).any(dim=1).all() for batch in batches)
    assert all(torch.equal(a.ids_BN, b.ids_BN) for a, b in zip(batches, again, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {"infill": 0.0}}, "tasks is .*'infill': 0.0.*: give each a weight above 0, and leave task out"),
        ({"tasks": {}}, "tasks is {}"),
        ({"tasks": {"infill": 1.0}, "task": "infill"}, "tasks is .*, and task infill"),
        ({"tasks": {"infill": math.inf}}, "tasks is .*inf.*: give each a weight above 0"),
        ({"tasks": {"infill": math.nan}}, "tasks is .*nan"),
        (
            {"task": "infill", "samples": SampleLogConfig(prompts=("a",))},
            "samples.prompts are given, and infill",
        ),
        ({"tasks": {"text_to_smell": 1.0}}, "there is no task 'text_to_smell': choose infill, text_to_video"),
    ],
)
def test_mixtures_that_cannot_be_are_refused(settings, message, material):
    with pytest.raises(ValueError, match=message):
        training(material, settings=settings)


def test_documents_without_padding_have_the_losses_of_padded_ones(material, tmp_path):
    module, packed = training(material), training(material, settings={"without_padding": True})
    shards, same_shards = data(material), data(material)
    trainer(tmp_path / "a", 1).fit(module, shards)
    trainer(tmp_path / "b", 1).fit(packed, same_shards)
    padded, joined = (next(iter(each.train_dataloader())) for each in (shards, same_shards))
    assert len(padded.ids_BN) == 4 and len(joined.ids_BN) == 1
    found, expected = (module.losses(module.model, sequence) for sequence in (joined, padded))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_captions_are_dropped_in_the_loader_the_same_in_every_process(material, tmp_path, workers):
    module = training(material, dropout=0.5)
    shards = data(material)
    shards.num_workers = workers
    trainer(tmp_path, 1).fit(module, shards)
    again = data(material)
    again.collate_training = shards.collate_training

    def lengths(batches) -> list[int]:
        return [length for batch in batches for length in batch.visibility.prefix_B.tolist()]

    found = lengths(islice(shards.train_dataloader(), 6))
    assert found == lengths(islice(again.train_dataloader(), 6)) and 2 in found and set(found) != {2}
    assert 2 not in lengths(shards.val_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_guessed_lines_change_what_is_read_and_nothing_else(material, tmp_path, workers):
    """Targets, captions and their dropping stay; of all lines, the lane's guesses are read; 0 reads the codes."""
    found = {}
    for share in (0.0, 0.5, 1.0):
        module, shards = training(material, settings={"guessed_lines": share}, dropout=0.5), data(material)
        shards.num_workers = workers if share == 0.5 else 0
        trainer(tmp_path / str(share), 1).fit(module, shards)
        assert reads_its_codes(next(iter(shards.val_dataloader())))
        found[share] = list(islice(shards.train_dataloader(), 3))
    changed = 0
    for plain, some, every in zip(*found.values(), strict=True):
        assert reads_its_codes(plain)
        start, ids = plain.rows_of("video").start + 1, module.task.vocabulary.ids["video"]
        codes_BTHW = module.task.raster.frames(plain.targets_BN[:, start - 1 :] - ids.start)
        guesses_BTHW = torch.stack([with_guesses(x, torch.ones(2, 4) > 0, module.task.raster) for x in codes_BTHW])
        assert torch.equal(every.ids_BN[:, start:], ids.start + guesses_BTHW.flatten(1)[:, :-1])
        for other in (some, every):
            assert torch.equal(other.ids_BN[:, :start], plain.ids_BN[:, :start])
            assert torch.equal(other.targets_BN, plain.targets_BN)
            assert torch.equal(other.visibility.prefix_B, plain.visibility.prefix_B)
        of_some, of_plain, of_every = (
            F.pad(x.ids_BN[:, start:], (0, 1)).unflatten(1, (-1, 4)) for x in (some, plain, every)
        )
        guessed = (of_some != of_plain).any(-1)
        assert torch.equal(of_some, of_every.where(guessed[..., None], of_plain)), "a line is guessed as a whole"
        changed += int(guessed.sum())
    assert changed


def reads_its_codes(sequence) -> bool:
    rows = sequence.rows_of("video")
    return torch.equal(sequence.ids_BN[:, rows][:, 1:], sequence.targets_BN[:, rows][:, :-1])


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_shares_of_guessed_lines_that_cannot_be_are_refused(material, share):
    with pytest.raises(ValueError, match=rf"^guessed_lines is {share}; it must lie in \[0, 1\], for example 0.3$"):
        training(material, settings={"guessed_lines": share})


def test_settings_under_which_rows_would_see_what_they_predict_are_refused(material, tmp_path):
    with pytest.raises(ValueError, match="text.loss_weight is 0.1, but .* set it to 0"):
        training(material, settings={"rules": LayoutRules(bidirectional_prefix=True)})
    module = training(material, settings={"rules": LayoutRules(bidirectional_frames=True)})
    with pytest.raises(ValueError, match="bidirectional_frames is set"):
        trainer(tmp_path, 1).fit(module, data(material))
    with pytest.raises(ValueError, match="no task 'text_to_smell': choose .*text_to_video"):
        training(material, settings={"task": "text_to_smell"})


@pytest.mark.parametrize(
    ("kind", "network", "checkpointed", "guessed_lines"),
    [
        ("adamw", {}, False, 0.0),
        ("muon", {}, False, 0.5),
        ("muon", BY_LEVEL, False, 0.0),
        ("adamw", {}, True, 0.0),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(material, tmp_path, kind, network, checkpointed, guessed_lines):
    """To the weight, in the middle of an epoch, with captions dropped at random; checkpointed blocks change nothing."""
    usual = {"guessed_lines": guessed_lines}
    settings = [usual, usual | {"blocks": BlocksConfig(checkpointed=checkpointed)}, usual]
    whole, first, second = (training(material, kind, network=network, settings=each, dropout=0.5) for each in settings)
    half = tmp_path / "half.ckpt"
    for name, module, start in (("whole", whole, None), ("half", first, None), ("half", second, half)):
        lightning.seed_everything(1, verbose=False)
        stop = [after_step(3, lambda run: setattr(run, "should_stop", True))] if module is first else []
        run = trainer(tmp_path / name, 6, callbacks=[RandomState(), *stop])
        run.fit(module, data(material), ckpt_path=start, weights_only=True)
        if stop:
            run.save_checkpoint(half)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name


def test_the_saved_folder_samples_and_holds_the_average_and_the_rules_of_the_layout(material, tmp_path):
    rules = LayoutRules(bidirectional_prefix=True, window_frames=2)
    module = training(material, settings={"rules": rules}, loss_weight=0.0)
    trainer(tmp_path, 2).fit(module, data(material))
    module.save_pretrained(tmp_path / "pretrained")
    pipeline = Pipeline.from_pretrained(tmp_path / "pretrained")
    assert pipeline.model.task.config.rules == rules and pipeline.model.task.name == "text_to_video"
    averaged = module.average.module.state_dict()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in pipeline.model.network.state_dict().items())
    assert len(pipeline("a red circle", seed=1)[0]) == 5


def test_a_network_by_level_takes_the_digits_of_its_tokenizer(material, tmp_path):
    module = training(material, network=BY_LEVEL)
    trainer(tmp_path, 1).fit(module, data(material))
    config, codes = module.model.config, module.task.vocabulary.ids["video"]
    assert config.code_levels == (4, 4) and config.code_ids == codes
    other = training(material, network=BY_LEVEL | {"code_levels": (8, 2)})
    trainer(tmp_path, 1).fit(other, data(material))
    assert other.model.config.code_levels == (8, 2)
    for wrong in ({"code_levels": (4, 3)}, {"code_start": 5}):
        with pytest.raises(ValueError, match="are not the 16 codes from id .* leave code_levels and code_start out"):
            trainer(tmp_path, 1).fit(training(material, network=BY_LEVEL | wrong), data(material))


def test_a_model_by_level_is_saved_whole_and_samples(material, tmp_path):
    module = training(material, network=BY_LEVEL)
    trainer(tmp_path, 2).fit(module, data(material))
    module.save_pretrained(tmp_path / "pretrained")
    pipeline, trained = Pipeline.from_pretrained(tmp_path / "pretrained"), Pipeline(module.saved)
    assert pipeline.model.network.config == module.model.config and pipeline.fingerprint() == trained.fingerprint()
    (found,), (expected,) = pipeline("a red circle", seed=1), trained("a red circle", seed=1)
    assert len(found) == 5 and (found.frames_THWC == expected.frames_THWC).all()


def test_a_run_that_breaks_after_a_validation_leaves_a_folder_that_samples(material, tmp_path):
    fail = after_step(3, Mock(side_effect=RuntimeError("the machine is gone")))
    run = trainer(tmp_path, 9, callbacks=[KeepPretrained(), fail], val_check_interval=2)
    with pytest.raises(RuntimeError, match="the machine is gone"):
        run.fit(training(material), data(material))
    assert len(Pipeline.from_pretrained(tmp_path / "pretrained")("a red circle", seed=1)[0]) == 5


def test_a_start_that_fails_keeps_no_text_tokenizer(material, tmp_path):
    shards = data(material)
    shards.batch_size = 0
    with pytest.raises(ValueError, match="batch_size is 0"):
        trainer(tmp_path / "run", 1).fit(training(material), shards)
    assert not (tmp_path / "run").exists()


def test_the_text_tokenizer_of_a_run_is_kept(material, tmp_path):
    trainer(tmp_path, 1).fit(training(material), data(material))
    kept = (tmp_path / "text.model").read_bytes()
    again = training(material)
    trainer(tmp_path, 1).fit(again, data(material))
    assert again.saved.text_tokenizer.to_bytes() == kept == (tmp_path / "text.model").read_bytes()


def test_a_checkpoint_of_another_kind_of_training_is_refused(material, tmp_path):
    run = trainer(tmp_path, 1)
    run.fit(training(material), data(material))
    run.save_checkpoint(tmp_path / "whole.ckpt")
    checkpoint = torch.load(tmp_path / "whole.ckpt", weights_only=True)
    del checkpoint["text_tokenizer_fingerprint"]
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="another kind of training"):
        run.fit(training(material), data(material), ckpt_path=tmp_path / "other.ckpt", weights_only=True)


def test_tokens_of_another_tokenizer_are_refused(material, tmp_path, make_tokenizer):
    make_tokenizer(seed=7, levels=(4, 4)).save_pretrained(tmp_path / "other")
    module = training(material)
    module.tokenizer_folder = str(tmp_path / "other")
    with pytest.raises(ValueError, match="did not make the token shards"):
        trainer(tmp_path, 1).fit(module, data(material))
