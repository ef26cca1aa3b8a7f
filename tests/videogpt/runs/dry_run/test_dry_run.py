"""`fit --dry-run`: what it tells is what the fit takes, it writes nothing, and it refuses what the fit refuses."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from videogpt.cli import main
from videogpt.runs import cli
from videogpt.runs.cli import run
from videogpt.runs.dry_run import dry_run as module_of_dry_run
from videogpt.runs.dry_run import replay
from videogpt.runs.dry_run.recorder import Call, Recorder, fake_tensors
from videogpt.runs.dry_run.replay import seconds_between_calls, seconds_of_calls
from videogpt.runs.dry_run.schedule import Schedule, schedule_of
from videogpt.tokens.writer import tokenize_clips
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.folder import ClipFolder

CONFIGS = Path(__file__).parents[4] / "configs"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def little_timing(monkeypatch):
    monkeypatch.setattr(module_of_dry_run, "SECONDS_OF_TIMING", 0.2)


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_tokenizer) -> Path:
    root = tmp_path_factory.mktemp("material")
    assert len(list(write_world(root / "clips", clips=8, seed=0))) == 8
    make_tokenizer().save_pretrained(root / "tokenizer")
    tokenize_clips(ClipFolder(root / "clips"), make_tokenizer(), root / "tokens", num_frames=17, size=64)
    return root


def arguments(kind: str, material: Path, *more: str, name: str = "tiny") -> list[str]:
    folder = "clips" if kind == "tokenizer" else "tokens"
    found = ["fit", "--config", str(CONFIGS / kind / f"{name}.yaml"), f"--data.init_args.folder={material / folder}"]
    found += ["--data.init_args.batch_size=2", "--data.init_args.num_workers=0", "--trainer.accelerator=cpu"]
    if kind == "videogpt":
        found.append(f"--model.init_args.tokenizer={material / 'tokenizer'}")
    return [*found, f"--trainer.default_root_dir={material / 'run'}", *more]


class Watch(Callback):
    """What a real step computes and what its weights are."""

    found: dict[str, int]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.counter = FlopCounterMode(display=False)
        self.counter.__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.counter.__exit__(None, None, None)
        learned = pl_module.model if hasattr(pl_module, "model") else pl_module.tokenizer
        Watch.found = {
            "parameters": sum(weight.numel() for weight in learned.parameters()),
            "FLOPs per step": self.counter.get_total_flops(),
        }


def figures(text: str) -> dict[str, float]:
    return {name: float(value.replace(",", "")) for name, value in re.findall(r"^(\S.*?)  +([\d.,e+]+)", text, re.M)}


@pytest.mark.parametrize(
    ("kind", "more"),
    [("videogpt", []), ("videogpt", ["--model.init_args.without_padding=true"]), ("tokenizer", [])],
)
def test_it_tells_what_a_step_takes_and_writes_nothing(kind, more, material, tmp_path, capsys, monkeypatch):
    before = sorted(material.rglob("*"))
    assert main([*arguments(kind, material, *more), "--dry-run"]) == 0
    assert sorted(material.rglob("*")) == before
    said = capsys.readouterr()
    told = figures(said.out)
    assert "starting" not in said.err
    assert told["steps"] == 2000 and told["time per step"] > 0
    assert told["video tokens per step"] == 2 * 5 * 8 * 8
    few = (f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0")
    monkeypatch.setattr(cli, "RandomState", Watch)  # one more callback, in place of one that is not needed here
    assert run(arguments(kind, material, *more, *few)) == 0
    assert told["parameters"] == Watch.found["parameters"]
    assert told["FLOPs per step"] == pytest.approx(Watch.found["FLOPs per step"], rel=0.15)


@pytest.mark.parametrize("way", [["--dry_run"], ["--dry_run=true"], "file"])
def test_it_is_a_flag_or_a_setting_of_the_file(way, material, tmp_path, capsys):
    if way == "file":
        (tmp_path / "dry.yaml").write_text("dry_run: true\n")
        way = ["--config", str(tmp_path / "dry.yaml")]
    assert main(arguments("videogpt", material, *way)) == 0
    assert "parameters" in capsys.readouterr().out and not (material / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        "--trainer.max_steps=few",
        "--trainer.accumulate_grad_batches=0",
        "--model.init_args.model.width=30",
        "--model.init_args.tokenizer=natural",
        "--data.init_args.folder=nowhere",
        "--resume=must",
    ],
)
def test_it_refuses_what_a_fit_refuses_in_the_same_words(wrong, material, capsys):
    said = []
    for way in ([], ["--dry-run"]):
        assert main(arguments("videogpt", material, wrong, *way)) == 2
        said.append([line for line in capsys.readouterr().err.splitlines() if "error" in line])
    assert said[0] == said[1] and len(said[0]) == 1


def test_only_a_fit_can_be_tried(material, capsys):
    args = ["validate", *arguments("videogpt", material, "--dry-run")[1:]]
    assert main(args) == 2
    assert "dry_run is true, and validate trains nothing: leave it out, or run fit" in capsys.readouterr().err


def test_a_run_that_has_begun_is_told_what_is_left(material, tmp_path, capsys):
    root = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert run(arguments("videogpt", material, root, "--trainer.max_steps=2", "--trainer.limit_val_batches=0")) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert main(arguments("videogpt", material, root, "--dry-run")) == 0
    assert figures(capsys.readouterr().out)["steps"] == 1998
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_what_depends_on_numbers_is_left_open(material, capsys):
    pytest.importorskip("vector_quantize_pytorch")
    assert main(arguments("tokenizer", material, "--dry-run", "--model.init_args.tokenizer.quantizer.kind=vq")) == 0
    out = capsys.readouterr().out
    assert "FLOPs, memory, time    not known" in out and "parameters" in out


def test_blocks_that_are_compiled_or_checkpointed_have_their_memory_told(material, capsys):
    memory = []
    for setting in ("compiled", "checkpointed"):
        assert main(arguments("videogpt", material, "--dry-run", f"--model.init_args.blocks.{setting}=true")) == 0
        memory.append(float(re.search(r"memory +([\d.]+) MB", capsys.readouterr().out)[1]))  # type: ignore[index]
    assert memory[1] < memory[0]


def test_memory_and_flops_are_those_of_what_is_alive():
    calls: Counter[Call] = Counter()
    with fake_tensors(), Recorder() as recorder, recorder.calls_into(calls):
        x = torch.ones(1000, 1000)
        y = x @ x
        assert recorder.alive_bytes == recorder.peak_bytes == 8_000_000
        del x
        y.view(-1).add_(1.0)
        assert recorder.alive_bytes == 4_000_000 and recorder.peak_bytes == 8_000_000
    assert recorder.flops == 2 * 1000**3
    assert sum(calls.values()) == 3  # ones, product, sum; the view is none


def test_products_in_place_are_counted():
    with fake_tensors(), Recorder() as recorder:
        torch.zeros(2, 3, 5).baddbmm_(torch.ones(2, 3, 4), torch.ones(2, 4, 5))
    assert recorder.flops == 2 * 2 * 3 * 4 * 5


def recorded(size: int) -> Counter[Call]:
    calls: Counter[Call] = Counter()
    weights = [nn.Parameter(torch.ones(size, size)) for _ in range(3)]
    with fake_tensors() as fakes, Recorder() as recorder, recorder.calls_into(calls):
        fake = [fakes.from_tensor(weight.detach(), static_shapes=True) for weight in weights]
        (fake[0] @ fake[1]).sum()
        torch.ops.aten._foreach_add_.Scalar(fake, 1.0)
        torch.zeros(1, 1).expand(size, size).div(3)
    return calls


def test_every_kind_of_call_is_timed_and_larger_ones_take_longer():
    times = []
    for size in (64, 1024):
        seconds = seconds_of_calls(recorded(size), budget=5.0)
        assert all(value > 0 for value in seconds.values())
        times.append(sum(seconds.values()))
    assert times[1] > 5 * times[0]


def test_between_operations_there_is_some_time_and_little():
    assert 1e-7 < seconds_between_calls() < 1e-3


def test_without_a_budget_larger_calls_are_reckoned_from_small_ones():
    small, large = recorded(64), recorded(512)
    seconds = seconds_of_calls([*small, *large], budget=0.0)
    product = {call.flops: seconds[call] for call in seconds if call.flops}
    assert product[2 * 512**3] == pytest.approx(product[2 * 64**3] * 512)


def test_a_large_group_of_an_optimiser_is_cut_and_timed_not_reckoned_from_a_tiny_one(monkeypatch):
    monkeypatch.setattr(replay, "_MOST_BYTES", 2**20)
    monkeypatch.setattr(replay, "_MOST_LISTED", 2**18)
    tiny, large = recorded(8), recorded(1024)
    seconds = seconds_of_calls([*tiny, *large], budget=5.0)
    group = {call.num_bytes: seconds[call] for call in seconds if "_foreach_add_" in str(call.operation)}
    assert len(group) == 2
    ratio = max(group) / min(group)
    assert group[max(group)] < 0.3 * ratio * group[min(group)]  # most of the tiny one's time is the call itself


@pytest.mark.parametrize(
    ("settings", "steps", "validations"),
    [
        ({"max_steps": 100}, 90, 5),
        ({"max_epochs": 2}, 30, 2),
        ({"max_epochs": 2, "accumulate_grad_batches": 2}, 10, 1),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 10, 1),
        ({"max_steps": 60, "val_check_interval": 7, "check_val_every_n_epoch": None}, 50, 7),
        ({"max_steps": 60, "val_check_interval": 0.5}, 50, 5),
        ({"max_steps": 60, "check_val_every_n_epoch": 2}, 50, 1),
        ({"max_steps": 5}, 0, 0),
    ],
)
def test_the_schedule_is_that_of_the_trainer(settings, steps, validations, tmp_path):
    """Of epochs of 20 batches, after 10 steps."""
    import lightning

    quiet = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu", "default_root_dir": tmp_path}
    plan = schedule_of(lightning.Trainer(**quiet, **settings), batches_per_epoch=(20, 3), done=10)
    assert isinstance(plan, Schedule)
    assert (plan.steps, plan.validations, plan.batches_per_validation) == (steps, validations, 3)
