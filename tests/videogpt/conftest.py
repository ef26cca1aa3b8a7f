"""A tiny tokenizer and a complete tiny model with random weights, clips of random pixels, and commands as a user has
them, for all tests."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from videogpt.cli import main
from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.infill import Infill
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.pipeline import Pipeline
from videogpt.pipeline.saved_model import SavedModel, save_model
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer: Callable[..., VideoTokenizer]) -> VideoTokenizer:
    """1000 codes. Leave it so."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def make_tiny_model(make_tokenizer: Callable[..., VideoTokenizer]) -> Callable[..., SavedModel]:
    """Makes tiny models with random weights; settings of the network are given by name.

    1 + 4k frames up to 9 of 16 x 24 pixels: 3 latent frames of 2 x 3 codes out of 75.
    """
    return partial(_tiny_model, make_tokenizer)


@pytest.fixture(scope="session")
def tiny_model(make_tiny_model: Callable[..., SavedModel]) -> SavedModel:
    """See `make_tiny_model`. Leave it so."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def tiny_model_of_tasks(make_tiny_model: Callable[..., SavedModel]) -> SavedModel:
    """The same that knows infill, too. Leave it so."""
    return make_tiny_model(tasks=(TextToVideo, Infill))


@pytest.fixture(scope="session")
def tiny_model_by_level(make_tiny_model: Callable[..., SavedModel]) -> SavedModel:
    """The same whose head and embedding are by level. Leave it so."""
    return make_tiny_model(head="levels", embedding="levels")


def _tiny_model(
    make_tokenizer: Callable[..., VideoTokenizer],
    tasks: Sequence[type[TextToVideo]] = (TextToVideo,),
    **network_settings: Any,
) -> SavedModel:
    torch.manual_seed(0)
    text_tokenizer = TextTokenizer.train(["a red circle moves left", "a blue star spins"], vocab_size=300)
    tokenizer = make_tokenizer(levels=(5, 5, 3))
    sizes = {"max_text_tokens": 32, "latent_frames": 3, "latent_height": 2, "latent_width": 3}
    ids = {"text_vocab_size": text_tokenizer.vocab_size, "codebook_size": tokenizer.codebook_size}
    shown = sorted({kind for task in tasks for kind in task.prefix_codes})
    task, *others = (kind(LayoutConfig(**ids, **sizes, prefix_codes=tuple(shown))) for kind in tasks)
    if network_settings:
        network_settings |= {"code_levels": (5, 5, 3), "code_start": task.vocabulary.ids["video"].start}
    config = {"vocab_size": task.vocabulary.size, "width": 32, "depth": 2, "heads": 4, "kv_heads": 2}
    network = VideoGPT(VideoGPTConfig(**config, **network_settings)).eval()
    with torch.no_grad():  # sharper opinions than random weights have, so that prompts and settings matter
        network.get_parameter("head.weight").mul_(3)
        for level in () if network.level_head is None else network.level_head.levels:
            level.get_parameter("values.weight").mul_(6)
    return SavedModel(
        tokenizer=tokenizer,
        text_tokenizer=text_tokenizer,
        task=task,
        others=tuple(others),
        network=network,
        fps=8.0,
    )


@pytest.fixture(scope="session")
def pipeline(tiny_model: SavedModel) -> Pipeline:
    return Pipeline(tiny_model, name="tiny")


@pytest.fixture(scope="session")
def model_folder(tiny_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, saved. Leave it so."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_model)
    return folder


@pytest.fixture(scope="session")
def random_clip() -> Callable[..., Clip]:
    """Makes clips of random pixels, the same again for a `seed`."""

    def make(frames: int, height: int, width: int, fps: float = 8, seed: int | None = None) -> Clip:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (frames, height, width, 3), generator=generator)
        return Clip(pixels.to(torch.uint8), fps)

    return make


@pytest.fixture(scope="session")
def odd_clips(random_clip: Callable[..., Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """class_0/long.avi (70x16x24), class_1/odd.avi (6x13x20) and class_2/one.avi (1x9x8), lossless, 5 to 7 a second.

    One in several pieces, one that nothing divides, and a single frame. Leave them so.
    """
    folder = tmp_path_factory.mktemp("clips")
    for index, (name, shape) in enumerate({"long": (70, 16, 24), "odd": (6, 13, 20), "one": (1, 9, 8)}.items()):
        (folder / f"class_{index}").mkdir()
        random_clip(*shape, fps=5 + index, seed=index).write(folder / f"class_{index}" / f"{name}.avi")
    return folder


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The one line of the mistake that a command has ended with."""

    def only() -> str:
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("videogpt: error:")]
        return line

    return only


@pytest.fixture
def videogpt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command of the command line in this process; `code` is how it must end. What it printed: out, err."""

    def run(*arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(list(map(str, arguments))) == code
        return capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Runs a program in an interpreter of its own, where the packages `without` are as if not installed; its output."""

    def run(program: str, *arguments: str, without: Iterable[str] = (), **options: Any) -> str:
        block = f"import sys; sys.modules.update(dict.fromkeys({list(without)!r}))\n"
        command = [sys.executable, "-c", block + program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
