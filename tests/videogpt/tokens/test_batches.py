"""Batches of token shards: sides hold different clips, order depends on the seed and resumes."""

from pathlib import Path

import pytest
import torch

from videogpt.tokens.batches import TokenData
from videogpt.tokens.reader import TokenShardReader
from videogpt.tokens.shards import TokenShardsManifest
from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_batches(shards: Path) -> None:
    data = TokenData(str(shards), validation_fraction=0.3, batch_size=2)
    data.setup("fit")
    training, validation = list(data.train_dataloader()), list(data.val_dataloader())
    captions = [caption for batch in training for caption in batch["caption"]]
    held = [caption for batch in validation for caption in batch["caption"]]
    assert data.manifest == TokenShardsManifest.read(shards)
    assert set(captions) <= set(data.captions()) and held
    assert set(data.captions()) | set(held) == set(TokenShardReader(shards).captions)
    assert not set(data.captions()) & set(held)
    for batch in training:
        assert batch["codes"].dtype == torch.int64 and batch["codes"].shape == (2, 3, 2, 3)


def test_codes_and_captions_stay_together(shards: Path) -> None:
    reader = TokenShardReader(shards)
    codes = {caption: reader[i].codes_THW for i, caption in enumerate(reader.captions)}
    data = TokenData(str(shards), validation_folder=str(shards), batch_size=3, num_workers=1)
    data.setup("fit")
    for batch in [*data.train_dataloader(), *data.val_dataloader()]:
        for row, caption in zip(batch["codes"], batch["caption"], strict=True):
            assert torch.equal(row, codes[caption])


def test_order_depends_on_seed_and_resumes(shards: Path) -> None:
    def loader(seed: int):
        return TokenData(str(shards), validation_folder=str(shards), batch_size=1, seed=seed).train_dataloader()

    def captions(batches) -> list[str]:
        return [batch["caption"][0] for batch in batches]

    whole = captions(loader(0))
    assert captions(loader(0)) == whole != captions(loader(1))
    first, second = loader(0), loader(0)
    batches = iter(first)
    start = captions(next(batches) for _ in range(3))
    second.load_state_dict(first.state_dict())
    assert start + captions(second)[:4] == whole


def test_data_module_refusals(shards: Path, clips: Path, tokenizer: VideoTokenizer, tmp_path, make_tokenizer) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "short", num_frames=5, size=(16, 24))
    tokenize_clips(clips, make_tokenizer(seed=1), tmp_path / "other", num_frames=9, size=(16, 24))
    for complaint, settings in {
        "validation_folder .*short holds .*tokenize both alike": {"validation_folder": str(tmp_path / "short")},
        "its codes mean something else": {"validation_folder": str(tmp_path / "other")},
        "validation_fraction=0.0": {"validation_fraction": 0.0},
        "no token shards": {"folder": str(tmp_path)},
    }.items():
        with pytest.raises(ValueError, match=complaint):
            TokenData(**{"folder": str(shards), **settings}).setup("fit")
