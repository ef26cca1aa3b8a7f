"""The decoder: its equivalences (cached = whole, batched and padded = alone), causality, learning."""

import dataclasses
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.sequence import TrainingSequence
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.cache import KVCache
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT, rms_norm
from videogpt.model.rotary import rotation_at
from videogpt_kernels import Visibility, attention, qk_rope

GRID = {"latent_frames": 3, "latent_height": 3, "latent_width": 4}
TASK = TextToVideo(LayoutConfig(text_vocab_size=20, codebook_size=16, max_text_tokens=16, **GRID))
VIDEO_IDS = TASK.vocabulary.ids["video"]
CONFIG = VideoGPTConfig(vocab_size=TASK.vocabulary.size, width=32, depth=2, heads=4, kv_heads=2)
TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [], [7, 7]]


def network(**changes: Any) -> VideoGPT:
    """A decoder whose weights are random, its gains too."""
    model = VideoGPT(dataclasses.replace(CONFIG, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.75 + 0.5 * torch.rand_like(parameter))
    return model


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to the rounding of float32."""
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)


def clips(count: int = 3) -> torch.Tensor:
    return torch.randint(16, (count, 3, 3, 4))


def pack(texts: list[list[int]], codes_BTHW: torch.Tensor) -> TrainingSequence:
    return TASK.pack([Example(text, codes_THW) for text, codes_THW in zip(texts, codes_BTHW, strict=True)])


def video_logits(model: VideoGPT, texts: list[list[int]], codes_BTHW: torch.Tensor) -> torch.Tensor:
    sequence = pack(texts, codes_BTHW)
    return model.logits(model.hidden(sequence)[:, sequence.visibility.body_start :], VIDEO_IDS)


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("chunks", [[16, 1, 35], [17, *[1] * 35], [5, 6, 7, 20, 14], [52]])
@torch.no_grad()
def test_cached_decoding_equals_one_forward(chunks: list[int], kv_heads: int) -> None:
    model, sequence = network(kv_heads=kv_heads), pack(TEXTS, clips())
    cache = KVCache(model.config, prompts=3, prompt_rows=17, rows=35)
    pieces = zip(sequence.ids_BN.split(chunks, dim=1), sequence.positions_BN3.split(chunks, dim=1), strict=True)
    parts = [model(dataclasses.replace(sequence, ids_BN=ids, positions_BN3=at), cache) for ids, at in pieces]
    assert cache.length == sequence.ids_BN.shape[1] == 52
    assert_equal(torch.cat(parts, dim=1), model(sequence))


@torch.no_grad()
def test_batched_and_padded_equals_alone() -> None:
    model, codes_BTHW = network(), clips()
    alone = [video_logits(model, [text], codes_THW[None]) for text, codes_THW in zip(TEXTS, codes_BTHW, strict=True)]
    assert_equal(video_logits(model, TEXTS, codes_BTHW), torch.cat(alone))


@pytest.mark.parametrize("changed", [0, 17, 34])
@torch.no_grad()
def test_a_later_code_never_changes_earlier_logits(changed: int) -> None:
    model, codes_BTHW = network(), clips()
    before = video_logits(model, TEXTS, codes_BTHW)
    codes_BTHW.view(3, -1)[:, changed] += 1
    after = video_logits(model, TEXTS, codes_BTHW % 16)
    assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])
    assert (before[:, changed + 1] != after[:, changed + 1]).any(dim=-1).all()


@torch.no_grad()
def test_the_caption_changes_every_logit_and_the_video_none_of_the_text() -> None:
    model, codes_BTHW = network(), clips()
    difference = video_logits(model, TEXTS, codes_BTHW) - video_logits(model, [[8], [8], [8]], codes_BTHW)
    assert difference.abs().amax(dim=-1).min() > 1e-4
    first, second = (model(pack(TEXTS, clips()))[:, :16] for _ in range(2))
    assert torch.equal(first, second)


@torch.no_grad()
def test_shorter_clips_are_the_beginning_of_longer_ones() -> None:
    model, codes_BTHW = network(), clips()
    short = video_logits(model, TEXTS, codes_BTHW[:, :2])
    assert_equal(short, video_logits(model, TEXTS, codes_BTHW)[:, :24])


@pytest.mark.parametrize("tie_head", [False, True])
@torch.no_grad()
def test_logits_of_a_modality_are_a_slice_of_all(tie_head: bool) -> None:
    model, sequence = network(tie_head=tie_head), pack(TEXTS, clips())
    hidden_BND, every = model.hidden(sequence), model(sequence)
    assert every.shape[-1] == TASK.vocabulary.size
    for ids in TASK.vocabulary.ids.values():
        assert_equal(model.logits(hidden_BND, ids), every[..., ids.start : ids.stop])


def test_a_tied_head_is_the_embedding_and_counts_once() -> None:
    tied, untied = VideoGPT(dataclasses.replace(CONFIG, tie_head=True)), VideoGPT(CONFIG)
    assert untied.num_parameters - tied.num_parameters == TASK.vocabulary.size * CONFIG.width
    with torch.no_grad():
        tied.embedding.weight[5] = 0
    assert (tied(pack(TEXTS, clips()))[..., 5] == 0).all()


@pytest.mark.parametrize("tie_head", [False, True])
def test_gradients_reach_every_parameter(tie_head: bool) -> None:
    model, sequence = network(tie_head=tie_head).train(), pack(TEXTS, clips())
    F.cross_entropy(model(sequence).flatten(0, 1), sequence.targets_BN.flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_autocast_changes_little_and_keeps_the_residual_stream_in_float32() -> None:
    model, codes_BTHW = VideoGPT(CONFIG).eval(), clips()
    exact = video_logits(model, TEXTS, codes_BTHW)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.hidden(pack(TEXTS, codes_BTHW)).dtype == torch.float32
        rounded = video_logits(model, TEXTS, codes_BTHW)
    assert (rounded - exact).norm() < 0.02 * exact.norm()


def test_dropout_acts_in_training_only() -> None:
    model, sequence = VideoGPT(dataclasses.replace(CONFIG, dropout=0.5)), pack(TEXTS, clips())
    for training in (True, False):
        assert torch.equal(model.train(training)(sequence), model(sequence)) != training


def test_layers_share_the_scale_of_the_residual_stream() -> None:
    for depth in (2, 8):
        block: Any = VideoGPT(dataclasses.replace(CONFIG, width=64, depth=depth)).blocks[0]
        for out in (block.attention.out.weight, block.feed_forward.out.weight):
            assert out.std().item() == pytest.approx((2 * depth * out.shape[1]) ** -0.5, rel=0.05)


def test_it_learns_four_sequences_by_heart() -> None:
    model, sequence = VideoGPT(CONFIG), pack([[index] for index in range(4)], clips(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    start, targets = sequence.visibility.body_start, sequence.targets_BN - VIDEO_IDS.start
    for _ in range(80):
        logits_BMV = model.logits(model.hidden(sequence)[:, start:], VIDEO_IDS)
        loss = F.cross_entropy(logits_BMV.flatten(0, 1), targets[:, start:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # What cannot be foreseen is 0 as well: the captions tell the four apart from the first code on.
    assert loss < 0.02


@pytest.mark.parametrize(
    "rules", [{}, {"bidirectional_prefix": True}, {"bidirectional_frames": True}, {"window_frames": 2}], ids=str
)
@pytest.mark.parametrize("impl, rope_impl", [("triton", "triton"), ("sdpa", "torch"), ("row_blocks", "torch")])
def test_every_implementation_gives_the_same_logits_and_gradients(impl, rope_impl, rules: Any, monkeypatch) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, packed = network(depth=1).to(device), pack(TEXTS, clips())
    prefix_B, body_start = packed.visibility.prefix_B, packed.visibility.body_start
    visibility = Visibility.prefix_body(prefix_B, body_start, frame_tokens=12, **rules)
    sequence = dataclasses.replace(packed, visibility=visibility).to(device)

    def logits_and_gradients(impl: str, rope_impl: str) -> list[torch.Tensor]:
        monkeypatch.setattr("videogpt.model.network.attention", partial(attention, impl=impl))
        monkeypatch.setattr("videogpt.model.network.qk_rope", partial(qk_rope, impl=rope_impl))
        logits = model(sequence)
        up = torch.linspace(-1, 1, logits.numel()).mul(9).cos().view(logits.shape).to(device)
        return [logits.detach(), *torch.autograd.grad(logits, list(model.parameters()), up)]

    expected = logits_and_gradients("reference", "torch")
    for x, y in zip(logits_and_gradients(impl, rope_impl), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_the_norm_is_that_of_torch_and_safe_at_zero() -> None:
    x = torch.randn(5, 48, dtype=torch.float64).float()
    assert_equal(rms_norm(x), F.rms_norm(x, (48,), eps=0.0))
    zero = torch.zeros(2, 48, requires_grad=True)
    rms_norm(zero).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all() and not rms_norm(zero).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotary_scores_depend_on_distance_in_each_axis(axis: int) -> None:
    q, k = torch.randn(2, 1, 1, 1, 24)

    def turned(x: torch.Tensor, place_3: torch.Tensor) -> torch.Tensor:
        return qk_rope(x, torch.ones(1), *rotation_at(place_3[None, None], head_dim=24, base=100.0))

    zero, step = torch.zeros(3, dtype=torch.int64), torch.eye(3, dtype=torch.int64)[axis]
    pairs = ((step, zero), (step + 5, zero + 5), (zero, zero))
    apart, moved, together = (float((turned(q, one) * turned(k, other)).sum()) for one, other in pairs)
    assert moved == pytest.approx(apart, abs=1e-5) and abs(apart - together) > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30}, "width 30 is no multiple of heads 4"),
        ({"kv_heads": 3}, "heads 4 is no multiple of kv_heads 3"),
        ({"width": 16}, "width / heads is 4"),
        ({"width": 36}, "width / heads is 9"),
        ({"depth": 0}, "depth is 0"),
        ({"rope_base": 1.0}, "rope_base is 1.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_model_needs_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="vocab_size is 0; give that of the layout"):
        VideoGPT(VideoGPTConfig())
