"""A training from a saved model: it starts with its weights and its texts, and what does not fit is refused."""

from pathlib import Path

import lightning
import pytest
import torch
from torch import Tensor

from videogpt.model.config import VideoGPTConfig
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.saved_model import SavedModel, save_model
from videogpt.tokens.batches import TokenData
from videogpt.tokens.writer import tokenize_clips
from videogpt.training.captions import TextConfig
from videogpt.training.next_token import VideoGPTTraining
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.folder import ClipFolder
from videogpt_tokenizer.optim.configure import OptimizerConfig

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["flat", "levels"])
def material(request, tmp_path_factory, make_tiny_model) -> Path:
    """Saved models, and tokens of clips of their size."""
    root = tmp_path_factory.mktemp("material")
    model: SavedModel = make_tiny_model(
        **({} if request.param == "flat" else {"head": "levels", "embedding": "levels"})
    )
    save_model(root / "model", model)
    assert len(list(write_world(root / "clips", clips=8, seed=0))) == 8
    for name, frames in (("tokens", 9), ("short", 5)):
        tokenize_clips(ClipFolder(root / "clips"), model.tokenizer, root / name, num_frames=frames, size=(16, 24))
    return root


def training(material: Path, **settings) -> VideoGPTTraining:
    usual = {"tokenizer": material / "model", "pretrained": material / "model", "text": TextConfig(max_tokens=32)}
    usual = {key: value if isinstance(value, TextConfig) else str(value) for key, value in usual.items()}
    optimizer = OptimizerConfig(kind="muon", learning_rate=1e-3, warmup_steps=2)
    return VideoGPTTraining(**usual | {"optimizer": optimizer} | settings)


def trainer(root: Path, **settings) -> lightning.Trainer:
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    return lightning.Trainer(default_root_dir=root, accelerator="cpu", **quiet, **settings)


def data(material: Path, name: str = "tokens") -> TokenData:
    return TokenData(folder=str(material / name), batch_size=4, validation_fraction=0.2)


def test_it_starts_with_weights_sizes_and_texts_of_the_model(material, tmp_path) -> None:
    module, expected = training(material), Pipeline.from_pretrained(material / "model", device="cpu").model
    trainer(tmp_path).validate(module, data(material), verbose=False)
    assert module.model.config == expected.network.config
    assert module.hparams["model"]["width"] == 32
    assert module.saved.text_tokenizer.fingerprint() == expected.text_tokenizer.fingerprint()
    for network in (module.model, module.saved.network):
        equal(network.state_dict(), expected.network.state_dict())


def test_what_is_trained_is_saved(material, tmp_path) -> None:
    module = training(material)
    trainer(tmp_path, max_steps=2).fit(module, data(material))
    before = Pipeline.from_pretrained(material / "model", device="cpu").model
    module.save_pretrained(tmp_path / "pretrained")
    after = Pipeline.from_pretrained(tmp_path / "pretrained", device="cpu").model
    name = "blocks.0.feed_forward.out.weight"
    assert not torch.equal(after.network.state_dict()[name], before.network.state_dict()[name])
    assert after.task.config == before.task.config


def test_sizes_may_be_named_where_they_are_its_own(material) -> None:
    own = Pipeline.from_pretrained(material / "model", device="cpu").model.network.config
    sizes = {"width": 32, "depth": 2, "heads": 4, "kv_heads": 2, "head": own.head, "embedding": own.embedding}
    training(material, model=VideoGPTConfig(**sizes))
    with pytest.raises(ValueError, match=r"^model.depth is 3, that of pretrained .* is 2: leave model out$"):
        training(material, model=VideoGPTConfig(**sizes | {"depth": 3}))


def test_what_does_not_fit_the_model_is_refused(material, tmp_path, make_tokenizer) -> None:
    with pytest.raises(ValueError, match="^text.tokenizer is a.model, but pretrained .* leave it out$"):
        training(material, text=TextConfig(tokenizer="a.model"))
    with pytest.raises(ValueError, match="model .nowhere. is neither a folder nor a shipped model"):
        training(material, pretrained="nowhere")
    with pytest.raises(ValueError, match="^layout.latent_frames is 2, that of pretrained .* is 3: train on clips"):
        trainer(tmp_path, max_steps=1).fit(training(material), data(material, "short"))
    with pytest.raises(ValueError, match="^layout.max_text_tokens is 48, that of pretrained .* is 32"):
        trainer(tmp_path, max_steps=1).fit(training(material, text=TextConfig(max_tokens=48)), data(material))
    other = make_tokenizer(seed=7, levels=(5, 5, 3))
    other.save_pretrained(tmp_path / "other")
    tokenize_clips(ClipFolder(material / "clips"), other, tmp_path / "tokens", num_frames=9, size=(16, 24))
    with pytest.raises(ValueError, match="^tokenizer is not that of pretrained"):
        trainer(tmp_path, max_steps=1).fit(training(material, tokenizer=str(tmp_path / "other")), data(tmp_path))


def test_further_tasks_begin_with_the_vectors_of_the_codes(material, tmp_path) -> None:
    own = Pipeline.from_pretrained(material / "model", device="cpu").model
    module = training(material, tasks={"text_to_video": 1.0, "infill": 1.0})
    run = trainer(tmp_path)
    (found,) = run.validate(module, data(material), verbose=False)
    (expected,) = run.validate(training(material), data(material), verbose=False)
    assert found["val/bits_per_video_token"] == pytest.approx(expected["val/bits_per_video_token"], rel=1e-5)
    codes = torch.arange(75)
    given, video = (module.task.vocabulary.to_ids(kind, codes) for kind in ("given", "video"))
    assert torch.equal(module.model.embedding(given), own.network.embedding(video))
    module.save_pretrained(tmp_path / "pretrained")
    again = training(material, pretrained=str(tmp_path / "pretrained"), tasks={"text_to_video": 1.0, "infill": 1.0})
    run.validate(again, data(material), verbose=False)
    equal(again.model.state_dict(), module.model.state_dict())
    plain = training(material, pretrained=str(tmp_path / "pretrained"))  # keeps ids that it does not use
    run.validate(plain, data(material), verbose=False)
    assert plain.task.config.prefix_codes == ("given",)
    equal(plain.model.state_dict(), module.model.state_dict())
    alone = training(material, tasks={"infill": 1.0})
    run.validate(alone, data(material), verbose=False)
    assert [task.name for task in alone.saved.tasks] == ["infill"]


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
