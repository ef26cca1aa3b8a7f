"""Pipelines and their folders: order, seeds and frames of the clips, and what a damaged folder is told."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from videogpt.model.config import VideoGPTConfig
from videogpt.pipeline.names import load_tokenizer
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.saved_model import MODEL_FILES, SavedModel, load_model, save_model
from videogpt.sampling.config import SamplingConfig
from videogpt_tokenizer.clips.clip import Clip

PROMPTS = ["a red circle moves left", "", "a blue star spins"]


@pytest.fixture
def folder(tiny_model: SavedModel, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", tiny_model)
    return tmp_path / "model"


def same(clips: list[Clip], others: list[Clip], levels: int = 0) -> bool:
    """Equal to so many of 256 levels; in batches of other sizes a convolution rounds differently."""
    pairs = [(clip.frames_THWC.int(), other.frames_THWC.int()) for clip, other in zip(clips, others, strict=True)]
    return all(a.shape == b.shape and int((a - b).abs().max()) <= levels for a, b in pairs)


def test_clips_come_prompt_by_prompt_with_seeds_counting_up(pipeline: Pipeline) -> None:
    samples = list(pipeline.samples(PROMPTS, seed=[5, 0, 9], num_samples=2))
    assert [sample.request.text for sample in samples] == [text for text in PROMPTS for _ in range(2)]
    assert [sample.request.seed for sample in samples] == [5, 6, 0, 1, 9, 10]
    alone = [pipeline(sample.request)[0] for sample in samples]
    assert same([sample.clip for sample in samples], alone, levels=1)
    assert not same(alone[:1], alone[1:2], levels=1)


def test_clips_have_the_models_size_and_rate(pipeline: Pipeline) -> None:
    (clip,) = pipeline("a red circle moves left")
    assert (tuple(clip.frames_THWC.shape), clip.fps) == ((9, 16, 24, 3), 8.0)
    assert len(pipeline("a red circle moves left", num_frames=5)[0]) == 5


def test_batch_size_changes_nothing_and_progress_ends_at_the_total(tiny_model: SavedModel) -> None:
    calls: list[tuple[int, int]] = []
    small = Pipeline(tiny_model, batch_size=2)(PROMPTS, progress=lambda *call: calls.append(call))
    assert same(small, Pipeline(tiny_model, batch_size=16)(PROMPTS), levels=1)
    assert calls == [(done, 54) for done in (12, 24, 36, 42, 48, 54)]


def test_stream_yields_the_frames_of_the_call(pipeline: Pipeline) -> None:
    sampling = SamplingConfig(guidance_scale=2.0, top_k=30)
    chunks = list(pipeline.stream(PROMPTS, seed=3, sampling=sampling))
    assert [len(chunk[0]) for chunk in chunks] == [1, 4, 4]
    joined = [Clip(torch.cat([clip.frames_THWC for clip in clips]), 8.0) for clips in zip(*chunks, strict=True)]
    assert same(joined, pipeline(PROMPTS, seed=3, sampling=sampling))


@pytest.mark.parametrize("prompt", ["\u4e00\u53ea\u732b", "\U0001f600" * 5, "a\nb\t../'\"", "\udc80", "wort " * 2000])
def test_any_text_is_a_prompt(pipeline: Pipeline, prompt: str, recwarn: pytest.WarningsRecorder) -> None:
    assert len(pipeline(prompt, num_frames=1)) == 1
    long = len(prompt) > 100  # those are cut, and that is said
    assert ["the first 30 are kept" in str(warning.message) for warning in recwarn] == [True] * long


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_frames": 4}, "num_frames is 4: .* 1 and 5"),
        ({"num_frames": 0}, "num_frames is 0: .* 1 and 5"),
        ({"num_frames": 13}, "num_frames is 13, .* at most 9"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"seed": 2**32 - 1, "num_samples": 2}, "seed 4294967296 is out of range"),
        ({"seed": [1, 2]}, "2 seeds for 1 prompts"),
        ({"prompts": []}, "no prompt"),
        ({"prompts": ["a star", 3]}, "prompt 3 is not a string"),
    ],
)
def test_bad_requests_are_refused_at_once(pipeline: Pipeline, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline.samples(**{"prompts": "a red circle moves left", **arguments})  # without drawing anything from it


def test_a_saved_model_samples_the_same(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "deep" / "model")
    loaded = Pipeline.from_pretrained(tmp_path / "deep" / "model", device="cpu")
    assert same(loaded(PROMPTS), pipeline(PROMPTS))
    assert loaded.fingerprint() == pipeline.fingerprint()
    assert loaded.describe()["model"] == {"name": "model", "sha256": pipeline.fingerprint()}
    assert json.loads(json.dumps(loaded.describe()))["device"] == {"type": "cpu", "dtype": "float32"}


def test_float16_halves_the_file_and_loads_as_float32(tiny_model: SavedModel, folder: Path) -> None:
    before = (folder / "model.safetensors").stat().st_size
    save_model(folder, tiny_model, dtype="float16")
    assert (folder / "model.safetensors").stat().st_size < 0.6 * before
    for name, weight in load_model(folder).network.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, tiny_model.network.state_dict()[name].half().float())


def test_settings_are_saved_with_the_model(tiny_model: SavedModel, tmp_path: Path) -> None:
    sampling = SamplingConfig(temperature=0.7, top_p=0.9, guidance_scale=2.5)
    save_model(tmp_path / "model", dataclasses.replace(tiny_model, sampling=sampling))
    assert load_model(tmp_path / "model").sampling == sampling


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for damaged in [] if name.endswith("json") else [content[:-9], content[:-1] + bytes([content[-1] ^ 1])]:
        (folder / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=name):
            load_model(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name}.*copy|{name} is missing"):
        load_model(folder)


def test_another_models_tokenizer_is_refused(folder: Path, make_tokenizer) -> None:
    make_tokenizer(seed=1, levels=(5, 5, 3)).save_pretrained(folder / "tokenizer")
    with pytest.raises(ValueError, match="tokenizer is not the one this model was trained with"):
        load_model(folder)


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("layout", {"speed": 3}, "layout.speed is not known"),
        ("speed", 3, "config.json: speed is not known"),
        ("layout", {"latent_frames": 2}, "layout is wrong .*codebook_size"),
        ("model", None, "model is missing"),
        ("sampling", {"temperature": "hot"}, "sampling is wrong"),
        ("sha256", [], "not the one this model was trained with"),
        ("fps", 0, "fps is 0"),
        ("fps", "8", "fps is '8', not a number"),
        ("format", "else", "describes 'else', and 'videogpt-model' is wanted"),
        ("layout.latent_height", 10**9, "latent_height is 1000000000; it must be 4096 or less"),
        ("layout.latent_width", 2.0, r"latent_width is 2\.0; it must be a whole number"),
        ("layout.max_text_tokens", True, "max_text_tokens is True; it must be a whole number"),
        ("model.width", 10**9, "width is 1000000000; it must be 1048576 or less"),
        ("model.width", 2**20, r"is float32 \(32, 96\) where float32 \(1048576, .*\) is wanted"),
        ("model.mlp_ratio", 999.0, r"blocks\.1\.feed_forward\.out\.weight is .* is wanted"),
        ("model.depth", 1000, r"blocks\.999\.feed_forward\.out\.weight is missing"),
        ("model.depth", 1, r"blocks\.1\..* is not known"),
        ("model.kv_heads", 4, r"blocks\.0\.attention\.qk_gain_H|qkv\.weight is"),
        ("model.mlp_ratio", float("inf"), "mlp_ratio is inf; it must be"),
    ],
)
def test_an_edited_config_and_sizes_that_are_not_of_the_weights_are_refused(folder: Path, key, value, said) -> None:
    config = json.loads((folder / "config.json").read_text())
    *part, last = key.split(".")
    (config[part[0]] if part else config)[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said):
        load_model(folder)


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("code_levels", [5, 3, 5], r"levels\.\d\.values\.weight is .* is wanted"),
        ("code_levels", [5, 5], "embedding.weight is .* is wanted"),
        ("code_levels", 75, "model is wrong"),
        ("code_start", 3, "the network's codes are the ids .* take both from one model"),
        ("head", "flat", "head.weight is .* is wanted|level_head.* is not known"),
        ("embedding", "table", "embedding.weight is .* is wanted"),
    ],
)
def test_levels_that_are_not_of_the_weights_are_refused(tiny_model_by_level, tmp_path: Path, key, value, said) -> None:
    save_model(tmp_path / "model", tiny_model_by_level)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["model"][key] = value
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said):
        load_model(tmp_path / "model")


def test_a_flat_model_is_saved_as_it_ever_was(folder: Path) -> None:
    """So that earlier versions read it, and its fingerprint stays."""
    saved = json.loads((folder / "config.json").read_text())["model"]
    assert saved.keys() == VideoGPTConfig().settings().keys() and "head" not in saved


def test_a_run_is_no_model_but_holds_one(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for load in (load_model, load_tokenizer):
        with pytest.raises(ValueError, match=f"{run} is the folder of a run that has made nothing yet"):
            load(run)
    shutil.copytree(folder, run / "pretrained")
    for load in (load_model, load_tokenizer):
        with pytest.raises(ValueError, match=f"{run} is the folder of a run: give .*, {run / 'pretrained'}$"):
            load(run)
        load(run / "pretrained")


def test_parts_of_two_models_do_not_make_one(tiny_model: SavedModel) -> None:
    text_tokenizer = type(tiny_model.text_tokenizer).train(["another set of words"], vocab_size=270)
    with pytest.raises(ValueError, match="text_vocab_size"):
        dataclasses.replace(tiny_model, text_tokenizer=text_tokenizer)


def test_unknown_models_and_devices_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="'videogpt-tokenizer', and 'videogpt-model' is wanted"):
        load_model(folder / "tokenizer")
    with pytest.raises(ValueError, match="'no-such' is neither a folder nor a shipped model"):
        Pipeline.from_pretrained("no-such")
    for device in ("gpu", "meta", "cuda:99"):
        with pytest.raises(ValueError, match=f"device '{device}'"):
            Pipeline.from_pretrained(folder, device=device)


def test_saving_replaces_a_model_but_nothing_else(tiny_model: SavedModel, folder: Path) -> None:
    save_model(folder, tiny_model)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    (folder / "thesis.txt").write_text("do not lose me")
    with pytest.raises(ValueError, match="other files .thesis.txt."):
        save_model(folder, tiny_model)
    with pytest.raises(ValueError, match="is a file"):
        save_model(folder / "thesis.txt", tiny_model)


def test_a_failed_save_leaves_the_old_model(tiny_model: SavedModel, folder: Path) -> None:
    kept = {name: (folder / name).read_bytes() for name in MODEL_FILES}
    with pytest.raises(TypeError):
        save_model(folder, dataclasses.replace(tiny_model, fps=torch.tensor(8.0)))  # type: ignore[arg-type]
    assert {name: (folder / name).read_bytes() for name in MODEL_FILES} == kept
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
