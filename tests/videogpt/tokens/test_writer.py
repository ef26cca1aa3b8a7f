"""Token shards: rows are what the tokenizer says, folders are whole or absent, damage is refused."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.tokens.batches import TokenData
from videogpt.tokens.reader import TokenShardReader
from videogpt.tokens.writer import TokenShardsManifest, tokenize_clips
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

NUM_CLIPS = 7


def make_tokenizer(seed: int = 0, levels: tuple[int, ...] = (8, 5, 5, 5)) -> VideoTokenizer:
    torch.manual_seed(seed)
    network = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
    return VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=QuantizerConfig(levels=levels))).eval()


@pytest.fixture(scope="module")
def tokenizer() -> VideoTokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Seven lossless clips of 12 to 18 frames and a table of captions."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(NUM_CLIPS):
        frames = torch.randint(0, 256, (12 + i, 16, 24, 3), generator=torch.Generator().manual_seed(i))
        Clip(frames.to(torch.uint8), 8).write(folder / f"{i}.avi")
        rows.append(json.dumps({"file_name": f"{i}.avi", "caption": f"clip {i}\n\u2028 \u7ea2"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, clips: Path, tokenizer: VideoTokenizer) -> Path:
    output = tmp_path_factory.mktemp("shards") / "tokens"
    tokenize_clips(clips, tokenizer, output, num_frames=9, size=(16, 24), batch_size=3)
    return output


@pytest.fixture
def damaged(shards: Path, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(shards, tmp_path / "damaged")


def test_rows_are_the_tokenizers_codes(shards: Path, clips: Path, tokenizer: VideoTokenizer) -> None:
    reader = TokenShardReader(shards, tokenizer.fingerprint())
    assert len(reader) == NUM_CLIPS
    for i in range(NUM_CLIPS):
        video = Clip.read(clips / f"{i}.avi", num_frames=9).video_CTHW()
        assert torch.equal(reader[i].codes_THW, tokenizer.encode(video[None])[0])
        assert reader[i].caption == f"clip {i}\n\u2028 \u7ea2"
    with pytest.raises(IndexError):
        reader[NUM_CLIPS]


def test_manifest_describes_the_rows(shards: Path, tokenizer: VideoTokenizer) -> None:
    manifest = TokenShardsManifest.read(shards)
    assert manifest.tokenizer_fingerprint == tokenizer.fingerprint()
    assert manifest.grid == tokenizer.grid(9, 16, 24) == (3, 2, 3)
    assert (manifest.num_clips, manifest.num_frames, manifest.fps) == (NUM_CLIPS, 9, 8)
    assert manifest.versions["torch"] == torch.__version__
    assert sorted(path.name for path in shards.iterdir()) == ["captions.jsonl", "codes.npy", "manifest.json"]
    assert np.load(shards / "codes.npy").dtype == np.uint16


def test_small_codebook_takes_a_byte(clips: Path, tmp_path) -> None:
    tokenizer = make_tokenizer(levels=(4, 4, 4, 4))
    tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=9, size=16)
    assert np.load(tmp_path / "tokens" / "codes.npy").dtype == np.uint8


@pytest.mark.parametrize(
    "count, frames, starts",
    [
        (1, 18, [0]),
        (2, 18, [0, 13]),
        (4, 18, [0, 4, 9, 13]),
        (9, 6, [0, 1]),
        ("all", 18, [0, 6, 13]),
        ("all", 5, [0]),
    ],
)
def test_windows_of_a_long_clip(tmp_path, tokenizer: VideoTokenizer, count, frames: int, starts: list[int]) -> None:
    clip = Clip(torch.randint(0, 256, (frames, 8, 8, 3)).to(torch.uint8), 5)
    (tmp_path / "clips").mkdir()
    clip.write(tmp_path / "clips" / "a.avi")
    tokenize_clips(tmp_path / "clips", tokenizer, tmp_path / "tokens", num_frames=5, size=8, clips_per_source=count)
    reader = TokenShardReader(tmp_path / "tokens")
    lines = [json.loads(line) for line in (tmp_path / "tokens" / "captions.jsonl").read_text().splitlines()]
    assert [line["first_frame"] for line in lines] == starts
    for row, start in enumerate(starts):
        codes = tokenizer.encode(clip.video_CTHW()[None, :, start : start + 5])
        assert torch.equal(reader[row].codes_THW, codes[0])


def test_bad_clips_are_left_out_and_named(clips: Path, tokenizer, tmp_path, caplog) -> None:
    source = shutil.copytree(clips, tmp_path / "clips")
    (source / "2.avi").write_bytes((source / "2.avi").read_bytes()[:400])
    options = {"num_frames": 13, "size": 16, "max_bad_share": 0.3}
    manifest = tokenize_clips(source, tokenizer, tmp_path / "tokens", **options)
    assert manifest.skipped == ["0.avi", "2.avi"]  # too short; cut off
    assert "2 of 7 clips were left out" in caplog.text and "12 of 13 frames" in caplog.text
    reader = TokenShardReader(tmp_path / "tokens")
    assert [caption[:6] for caption in reader.captions] == [f"clip {i}" for i in (1, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_frames": 17}, "5 of the first 5 clips .* max_bad_share=0.6 .* 12 of 17 frames"),
        ({"num_frames": 10}, "nearest counts are 9 and 13"),
        ({"size": 20}, "height 20 is not a multiple of 8"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"clips_per_source": 0}, "clips_per_source=0"),
    ],
)
def test_refusals_leave_nothing(clips: Path, tokenizer, tmp_path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenize_clips(
            clips,
            tokenizer,
            tmp_path / "tokens",
            **{"num_frames": 9, "size": 16, "max_bad_share": 0.6, **options},
        )
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(clips: Path, tokenizer: VideoTokenizer, tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == NUM_CLIPS
        if done == 4:
            assert len(list(tmp_path.iterdir())) == 1  # the unfinished folder, under another name
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize_clips(clips, tokenizer, tmp_path / "tokens", num_frames=9, size=16, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_never_writes_over_a_folder(clips: Path, shards: Path, tokenizer: VideoTokenizer) -> None:
    before = (shards / "codes.npy").read_bytes()
    with pytest.raises(ValueError, match="not an empty folder"):
        tokenize_clips(clips, tokenizer, shards, num_frames=9, size=16)
    assert (shards / "codes.npy").read_bytes() == before


def test_other_tokenizer_is_refused_with_both_fingerprints(shards: Path, tokenizer: VideoTokenizer) -> None:
    other = make_tokenizer(seed=1).fingerprint()
    with pytest.raises(ValueError, match=f"{tokenizer.fingerprint()}.*{other}"):
        TokenShardReader(shards, other)


@pytest.mark.parametrize("name", ["manifest.json", "codes.npy", "captions.jsonl"])
def test_missing_and_truncated_files_are_refused(damaged: Path, name: str) -> None:
    content = (damaged / name).read_bytes()
    for keep in (len(content) - 30, 10, 0):
        (damaged / name).write_bytes(content[:keep])
        with pytest.raises(ValueError, match=f"{name}.*tokenize the clips again"):
            TokenShardReader(damaged)
    (damaged / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        TokenShardReader(damaged)


def test_altered_folders_are_refused(damaged: Path, shards: Path) -> None:
    codes = np.load(damaged / "codes.npy")
    np.save(damaged / "codes.npy", codes[:, :2])
    with pytest.raises(ValueError, match=r"uint16 \(7, 2, 2, 3\), its manifest says uint16 \(7, 3, 2, 3\)"):
        TokenShardReader(damaged)
    np.save(damaged / "codes.npy", np.full_like(codes, 1000))
    with pytest.raises(ValueError, match="row 0 is impossible"):
        TokenShardReader(damaged)[0]
    (damaged / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match="is this the right folder"):
        TokenShardReader(damaged)


def test_reader_pickles_small(shards: Path) -> None:
    reader = TokenShardReader(shards)
    data = pickle.dumps(reader)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data)[3].codes_THW, reader[3].codes_THW)


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
        data = TokenData(str(shards), validation_folder=str(shards), batch_size=1, seed=seed)
        return data.train_dataloader()

    def captions(batches) -> list[str]:
        return [batch["caption"][0] for batch in batches]

    whole = captions(loader(0))
    assert captions(loader(0)) == whole != captions(loader(1))
    first, second = loader(0), loader(0)
    batches = iter(first)
    start = captions(next(batches) for _ in range(3))
    second.load_state_dict(first.state_dict())
    assert start + captions(second)[: NUM_CLIPS - 3] == whole


def test_data_module_refusals(shards: Path, clips: Path, tokenizer: VideoTokenizer, tmp_path) -> None:
    tokenize_clips(clips, tokenizer, tmp_path / "short", num_frames=5, size=(16, 24))
    tokenize_clips(clips, make_tokenizer(seed=1), tmp_path / "other", num_frames=9, size=(16, 24))
    with pytest.raises(ValueError, match="validation_folder .*short holds .*tokenize both alike"):
        TokenData(str(shards), validation_folder=str(tmp_path / "short")).setup("fit")
    with pytest.raises(ValueError, match="its codes mean something else"):
        TokenData(str(shards), validation_folder=str(tmp_path / "other")).setup("fit")
    with pytest.raises(ValueError, match="validation_fraction=0.0"):
        TokenData(str(shards), validation_fraction=0.0)
    with pytest.raises(ValueError, match="no token shards"):
        TokenData(str(tmp_path)).setup("fit")
