"""Every YAML in configs/ trains for two steps, on clips and tokens made here.

Only what is too large for a test is made smaller. A fine-tune starts from the shipped model that it names.
"""

import json
from pathlib import Path

import pytest
import yaml

from videogpt.pipeline.names import load_tokenizer
from videogpt.runs.cli import run
from videogpt.tokens.writer import tokenize_clips
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.folder import ClipFolder

CONFIGS = Path(__file__).parents[1] / "configs"
every_config = pytest.mark.parametrize(
    "config", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
SMALLER = {
    "tokenizer/base": {"data.init_args.size": "64"},
    "tokenizer/large": {"data.init_args.size": "64", "model.init_args.tokenizer.autoencoder.widths": "[32,64]"},
    "tokenizer/films-4k": {"data.init_args.validation_column": "caption"},
    "videogpt/base": {"model.init_args.model.depth": "2"},
    "videogpt/natural": {"data.init_args.validation_folder": "null"},
    "videogpt/large": {"model.init_args.model.depth": "1"},
}


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_tokenizer) -> Path:
    """Clips, a tokenizer with random weights, and the clips' tokens."""
    root = tmp_path_factory.mktemp("material")
    assert len(list(write_world(root / "clips", clips=8, seed=0))) == 8
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(root / "tokenizer")
    tokenize_clips(ClipFolder(root / "clips"), tokenizer, root / "tokens", num_frames=17, size=64)
    tokenize_clips(ClipFolder(root / "clips"), load_tokenizer("shapes"), root / "tokens-shapes", num_frames=17, size=64)
    return root


@pytest.mark.filterwarnings("ignore")
@every_config
def test_it_runs_two_steps(config, material, tmp_path):
    kind = config.parent.name
    settings = {
        "trainer.default_root_dir": tmp_path / "run",
        "trainer.max_steps": 2,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.num_nodes": 1,
        "trainer.strategy": "auto",
        "trainer.limit_val_batches": 1,
        "trainer.enable_model_summary": "false",
    }
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    start = written["model"]["init_args"].get("pretrained")
    folder = material / ("clips" if kind == "tokenizer" else f"tokens-{start}" if start else "tokens")
    small = {"batch_size": 2, "num_workers": 0, "folder": str(folder)}
    parts = written["data"]["init_args"].get("parts")
    if parts is None:
        settings |= {f"data.init_args.{key}": value for key, value in small.items()}
    else:
        for part in parts:
            part["init_args"] |= small | {"validation_column": "caption"}
        settings["data.init_args.parts"] = json.dumps(parts)
    if kind == "videogpt" and not start:
        settings["model.init_args.tokenizer"] = material / "tokenizer"
    settings |= SMALLER.get(f"{kind}/{config.stem}", {})
    overrides = [f"--{key}={value}" for key, value in settings.items()]
    assert run(["fit", "--config", str(config), *overrides]) == 0
    assert (tmp_path / "run" / "pretrained" / "model.safetensors").is_file()


@every_config
def test_its_header_has_the_command(config):
    header = [line for line in config.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"--config configs/{config.parent.name}/{config.name}" in line for line in header)
