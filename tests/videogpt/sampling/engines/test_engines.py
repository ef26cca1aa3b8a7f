"""Every engine computes what the plain one does: any rows, lengths and rewinds; those of 8 bits come near it."""

import sys
import warnings
from argparse import ArgumentParser

import pytest
import torch
from torch import Tensor

from videogpt.commands import add_ways
from videogpt.layouts.config import LayoutConfig, LayoutRules
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.pipeline import Pipeline
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.engines import compiled_engine, onnx_engine
from videogpt.sampling.engines.engines import ENGINES, EXACT, find_engine
from videogpt.sampling.sampler import LANES, sample_frames

# R sequences, M rows of a call, D width

OTHERS = [name for name in ENGINES if name not in ("torch", "compiled")]
"""What is compiled takes its time, and has a test of its own."""
SCHEDULE = ((1, (0, 0, 0)), (4, (1, 1, 1)), (3, (2, 5, 3)), (1, (4, 6, 6)), (10, (5, 7, 7)), (1, (15, 9, 12)))
"""Rows of each pass, and the first of them of sequences in turn."""
EXAMPLES = [Example([7, 8, 9]), Example([]), Example([20 + i for i in range(13)])]
NEAR = {"torch-int8-cache": 0.05, "onnx": 2e-6, "onnx-int8": 0.1}
"""The most that hidden states, which are of length 1 a channel, may differ in the root mean square."""


def model(**changes) -> tuple[VideoGPT, TextToVideo]:
    torch.manual_seed(0)
    rules = LayoutRules(**changes.pop("rules", {}))
    sizes = {"max_text_tokens": 32, "latent_frames": 3, "latent_height": 2, "latent_width": 3}
    task = TextToVideo(LayoutConfig(text_vocab_size=300, codebook_size=75, **sizes, rules=rules))
    shape = {"width": 48, "depth": 2, "heads": 4, "kv_heads": 2} | changes
    return VideoGPT(VideoGPTConfig(vocab_size=task.vocabulary.size, **shape)).eval(), task


@torch.inference_mode()
def states(name: str, network: VideoGPT, task: TextToVideo, sources: list[int] | None = None) -> list[Tensor]:
    """Hidden states of a schedule with windows, unequal starts, and rows read again."""
    prompt, generator = task.prompt(EXAMPLES, 3), torch.Generator().manual_seed(0)
    device = network.embedding.weight.device
    decoding = find_engine(name, network).start(prompt.given, 17, sources)
    sequences = len(EXAMPLES) if sources is None else len(sources)
    found = [decoding.hidden_RMD]
    for rows, starts in SCHEDULE:
        starts_R = [starts[sequence % 3] for sequence in range(sequences)]
        tokens_RM = torch.randint(75, (sequences, rows), generator=generator)
        numbers_RM = torch.tensor(starts_R)[:, None] + torch.arange(rows)
        positions_RM3 = prompt.positions_1M3[0, numbers_RM]
        ids_RM = task.vocabulary.ids["video"].start + tokens_RM
        found.append(decoding.step(ids_RM.to(device), positions_RM3.to(device), starts_R).clone())
    return found


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    assert [x.shape for x in found] == [x.shape for x in expected]
    return max(float((x - y).square().mean().sqrt()) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kv_heads": 4},
        {"kv_heads": 1, "heads": 3, "width": 24},
        {"rules": {"window_frames": 2}},
        {"rules": {"bidirectional_prefix": True}},
        {"tie_head": True, "rope_base": 1000.0},
    ],
    ids=str,
)
def test_hidden_states_are_those_of_the_plain_engine(name: str, changes: dict) -> None:
    network, task = model(**changes)
    apart = difference(states(name, network, task), states("torch", network, task))
    assert apart < NEAR[name]
    assert name in EXACT or apart > 0, "8 bits cost something"


@pytest.mark.parametrize("name", OTHERS)
def test_sequences_that_share_what_is_given(name: str) -> None:
    network, task = model()
    sources = [2, 0, 0, 1, 2]
    assert difference(states(name, network, task, sources), states("torch", network, task, sources)) < NEAR[name]


@pytest.mark.parametrize("name", OTHERS)
def test_room_grows_with_the_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine, "ROOM", 4)
    network, task = model()
    assert difference(states(name, network, task), states("torch", network, task)) < NEAR[name]


@pytest.mark.parametrize("name", [name for name in OTHERS if name in EXACT])
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("model", ["tiny_model", "tiny_model_by_level"])
def test_an_exact_engine_draws_the_same_codes(name: str, lane: str, model: str, request) -> None:
    config, saved = SamplingConfig(temperature=0.8, guidance_scale=2.0, top_p=0.9), request.getfixturevalue(model)
    network, task = saved.network, saved.task
    found = []
    for engine in ("torch", name):
        asked = {"lane": lane, "engine": find_engine(engine, network)}
        found.append(torch.stack([*sample_frames(network, task, config, EXAMPLES, [0, 1, 2], 3, **asked)], dim=1))
    assert torch.equal(*found)


def test_a_wrong_engine_is_told() -> None:
    """Rows that are not written behind the others, or not masked, show."""
    network, task = model()
    expected = states("torch", network, task)
    for spoiled in ("_limits_R4N", "_given_rows"):
        make = onnx_engine.OnnxDecoding.step

        def step(self, ids_RM, positions_RM3, starts, spoiled=spoiled, make=make):
            before = getattr(self, spoiled)
            setattr(self, spoiled, before * 0 if spoiled == "_limits_R4N" else before - 1)
            try:
                return make(self, ids_RM, positions_RM3, starts)
            finally:
                setattr(self, spoiled, before)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_engine.OnnxDecoding, "step", step)
            assert difference(states("onnx", network, task), expected) > 0.01


def test_of_8_bits_rows_do_not_depend_on_each_other() -> None:
    """Sums are whole numbers: a window and single rows give the same up to the rounding of the rest."""
    network, task = model()
    prompt = task.prompt(EXAMPLES[:1], 3)
    engine = find_engine("onnx-int8", network)
    ids_1M = task.vocabulary.ids["video"].start + torch.arange(6)[None]
    whole = engine.start(prompt.given, 17).step(ids_1M, prompt.positions_1M3[:, :6], [0]).clone()
    decoding = engine.start(prompt.given, 17)
    for row in range(6):
        rows = slice(row, row + 1)
        single = decoding.step(ids_1M[:, rows], prompt.positions_1M3[:, rows], [row])
        assert torch.allclose(single, whole[:, rows], atol=0.02)


def test_the_fastest_exact_engine_is_chosen() -> None:
    network, _ = model()
    assert find_engine("auto", network).name == "onnx"
    assert find_engine("auto", network.bfloat16()).name == "torch"
    with pytest.raises(ValueError, match="engine onnx runs on a CPU in float32, and the model is on cpu in bfloat16"):
        find_engine("onnx", network)
    with pytest.raises(
        ValueError, match="engine is 'fast'; choose auto, torch, torch-int8-cache, onnx, onnx-int8, compiled"
    ):
        find_engine("fast", network)


def test_without_the_package_torch_draws_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = model()
    monkeypatch.setitem(sys.modules, "videogpt.sampling.engines.onnx_engine", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.warns(UserWarning, match=r"not installed: pip install 'videogpt-lm\[export\]'; until then torch"):
        assert find_engine("auto", network).name == "torch"
    with pytest.raises(ValueError, match="not installed"):
        find_engine("onnx", network)


def test_vectors_that_no_file_holds_are_refused_also_where_they_are_made_of_few(
    tiny_model_by_level, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_model_by_level.network
    layers = sum(parameter.numel() for parameter in network.blocks.parameters())
    needed = 4 * (network.config.vocab_size * network.config.width + layers)
    monkeypatch.setattr("videogpt.model.onnx_step.MOST_BYTES", needed)
    assert find_engine("onnx", network).name == "onnx"
    monkeypatch.setattr("videogpt.model.onnx_step.MOST_BYTES", needed - 1)
    with pytest.raises(ValueError, match="weights are more than an ONNX file holds: run it in torch"):
        find_engine("onnx", network)


def test_products_that_overflow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = model()
    monkeypatch.setattr(onnx_engine.np, "array_equal", lambda *_: False)
    with pytest.raises(ValueError, match="products of 8 bits overflow"):
        find_engine("onnx-int8", network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_engine("auto", network).name == "onnx", "float32 has no such products"


def test_a_pipeline_notices_other_weights(tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(tiny_model)
    assert pipeline.engine() is pipeline.engine()
    before, weight = pipeline.engine(), tiny_model.network.embedding.weight
    with torch.no_grad():
        weight.mul_(1.0)
    assert pipeline.engine() is not before


def test_the_command_line_knows_every_engine() -> None:
    parser = ArgumentParser()
    add_ways(parser)
    (choices,) = [action.choices for action in parser._actions if action.dest == "engine"]
    assert list(choices) == ["auto", *ENGINES]


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc

    def missing() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(ValueError, match="engine is compiled, and there is no C"):
        find_engine("compiled", model()[0])


@pytest.mark.gpu
@pytest.mark.parametrize("sources", [None, [2, 0, 0, 1, 2]])
def test_graphs_of_a_gpu_compute_what_the_network_does(sources: list[int] | None) -> None:
    network, task = model(width=256)
    expected = states("torch", network, task, sources)
    found = states("compiled", network.cuda(), task, sources)
    assert difference([x.cpu() for x in found], expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("sources", [None, [2, 0, 0, 1, 2]])
def test_what_is_compiled_computes_what_the_network_does(sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all passes filled up to one width: each width takes a while."""
    monkeypatch.setattr(compiled_engine, "WIDTHS", (16,))
    monkeypatch.setattr(compiled_engine, "WORTH_TELLING", 0.0)
    network, task = model(depth=1, rules={"window_frames": 2})
    with pytest.warns(UserWarning, match="compiling a pass of 16 rows"):
        found = states("compiled", network, task, sources)
    assert difference(found, states("torch", network, task, sources)) < NEAR["onnx"]


def test_the_threads_of_torch_are_as_they_were(tiny_model) -> None:
    network, task, before = tiny_model.network, tiny_model.task, torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = find_engine("onnx", network)
        frames = sample_frames(network, task, SamplingConfig(), [Example([])], [0], 2, engine=engine)
        for _ in frames:
            assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError), engine.at_work():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
