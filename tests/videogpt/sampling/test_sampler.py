"""Sampling step by step against a plain sampler that reads whole sequences anew, and what a seed promises."""

from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

from videogpt.layouts.text_to_video import Layout, LayoutConfig
from videogpt.model.network import VideoGPT, VideoGPTConfig
from videogpt.pipeline.saved_model import ModelParts
from videogpt.sampling import SamplingConfig
from videogpt.sampling.filters import filter_logits, gumbel_noise
from videogpt.sampling.sampler import VideoSampler

TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)], [5]]
SEEDS = [3, 0, 2**32 - 1, 3]
SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02),
    SamplingConfig(guidance_scale=3.0, top_p=0.9),
]


def sample(
    parts: ModelParts,
    config: SamplingConfig,
    texts: list[list[int]] = TEXTS,
    seeds: list[int] = SEEDS,
    latent_frames: int = 3,
) -> Tensor:
    """Codes BTHW."""
    return torch.stack(list(VideoSampler(parts.model, parts.layout, config)(texts, seeds, latent_frames)), dim=1)


def plain_logits(parts: ModelParts, texts: list[list[int]], codes_BTHW: Tensor) -> Tensor:
    """Logits over codes (B, N, V) from one forward over whole sequences, without a cache."""
    sequence = parts.layout.pack(texts, codes_BTHW)
    hidden_BMD = parts.model.hidden(sequence)[:, sequence.visibility.body_start :]
    return parts.model.logits(hidden_BMD, parts.layout.video_ids)


@pytest.mark.parametrize("config", SETTINGS, ids=str)
@torch.no_grad()
def test_every_code_is_the_one_a_plain_sampler_draws(tiny_parts: ModelParts, config: SamplingConfig) -> None:
    codes_BTHW = sample(tiny_parts, config)
    logits_BNV = plain_logits(tiny_parts, TEXTS, codes_BTHW)
    if config.guidance_scale != 1.0:
        free_BNV = plain_logits(tiny_parts, [[]] * len(TEXTS), codes_BTHW)
        logits_BNV = free_BNV + config.guidance_scale * (logits_BNV - free_BNV)
    for logits_NV, seed, codes_THW in zip(logits_BNV, SEEDS, codes_BTHW, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noise_NV = torch.cat([gumbel_noise((6, 75), generator) for _ in range(3)])
        expected_N = (filter_logits(logits_NV, config) + noise_NV * (config.temperature > 0)).argmax(dim=-1)
        assert torch.equal(rearrange(codes_THW, "t h w -> (t h w)"), expected_N)


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_sample_does_not_depend_on_its_batch(tiny_parts: ModelParts, config: SamplingConfig) -> None:
    together = sample(tiny_parts, config)
    alone = [sample(tiny_parts, config, [text], [seed]) for text, seed in zip(TEXTS, SEEDS, strict=True)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_sharing_prompts_changes_no_code(
    tiny_parts: ModelParts, config: SamplingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [TEXTS[0], TEXTS[2], TEXTS[0], TEXTS[1], TEXTS[0]]
    apart = sample(tiny_parts, config, texts, list(range(5)))
    monkeypatch.setattr("videogpt.sampling.sampler.shares_prompts", lambda device: True)
    assert torch.equal(sample(tiny_parts, config, texts, list(range(5))), apart)


def test_prompt_seed_and_guidance_all_matter(tiny_parts: ModelParts) -> None:
    plain = sample(tiny_parts, SamplingConfig())
    assert not torch.equal(plain[0], plain[3])  # the same seed, another prompt
    assert not torch.equal(plain, sample(tiny_parts, SamplingConfig(), seeds=[4, 5, 6, 7]))
    assert not torch.equal(plain, sample(tiny_parts, SamplingConfig(guidance_scale=4.0)))


def test_guidance_of_one_is_the_plain_path_without_further_rows(tiny_parts: ModelParts) -> None:
    rows: list[int] = []
    hook = tiny_parts.model.embedding.register_forward_hook(lambda _m, ids, _o: rows.append(len(ids[0])))
    try:
        plain = sample(tiny_parts, SamplingConfig(guidance_scale=1.0))
        assert set(rows) == {4}
        guided = sample(tiny_parts, SamplingConfig(guidance_scale=1.0 + 1e-9))
        assert set(rows) == {4, 8}
    finally:
        hook.remove()
    assert torch.equal(plain, guided)


def test_guidance_of_zero_ignores_the_prompt(tiny_parts: ModelParts) -> None:
    found = sample(tiny_parts, SamplingConfig(guidance_scale=0.0))
    assert torch.equal(found, sample(tiny_parts, SamplingConfig(), texts=[[]] * 4))


def test_only_codes_come_out_however_hot(tiny_parts: ModelParts) -> None:
    codes_BTHW = sample(tiny_parts, SamplingConfig(temperature=1e6), [[]] * 64, list(range(64)))
    assert codes_BTHW.shape == (64, 3, 2, 3) and codes_BTHW.dtype == torch.int64
    assert codes_BTHW.min() >= 0 and codes_BTHW.max() < 75
    assert len(codes_BTHW.unique()) == 75


def test_a_shorter_video_is_the_beginning_of_a_longer_one(tiny_parts: ModelParts) -> None:
    config = SamplingConfig(guidance_scale=2.0)
    assert torch.equal(sample(tiny_parts, config, latent_frames=2), sample(tiny_parts, config)[:, :2])


def test_frames_come_as_they_are_drawn(tiny_parts: ModelParts) -> None:
    steps: list[Any] = []
    hook = tiny_parts.model.embedding.register_forward_hook(lambda *_: steps.append(None))
    try:
        frames = VideoSampler(tiny_parts.model, tiny_parts.layout, SamplingConfig())([[]], [0], 3)
        counts = [len(steps)] + [(next(frames), len(steps))[1] for _ in range(3)]
    finally:
        hook.remove()
    assert counts == [0, 6, 12, 18]
    assert not torch.is_inference_mode_enabled()


def test_draws_have_the_models_probabilities() -> None:
    """One code a video, 4,000 seeds: the shares of the codes against the softmax of what top-k leaves."""
    layout = Layout(LayoutConfig(text_vocab_size=4, codebook_size=6, latent_frames=1, latent_height=1, latent_width=1))
    model = VideoGPT(VideoGPTConfig(vocab_size=layout.vocab_size, width=16, depth=2, heads=2, kv_heads=1)).eval()
    config = SamplingConfig(top_k=4, temperature=1.5)
    codes_B = next(VideoSampler(model, layout, config)([[1, 2]] * 4000, list(range(4000)), 1)).flatten()
    with torch.no_grad():
        logits_1V = model.logits(model.hidden(layout.prompt([[1, 2]]))[:, -1], layout.video_ids)
    expected_V = filter_logits(logits_1V, config).softmax(dim=-1)[0]
    found_V = codes_B.bincount(minlength=6) / 4000
    assert torch.allclose(found_V, expected_V, atol=0.025)  # three standard deviations
    assert torch.equal(found_V > 0, expected_V > 0)


@pytest.mark.gpu
@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_gpu_draws_the_same_codes(tiny_parts: ModelParts, config: SamplingConfig) -> None:
    expected = sample(tiny_parts, config)
    try:
        tiny_parts.model.cuda()
        assert torch.equal(sample(tiny_parts, config).cpu(), expected)
    finally:
        tiny_parts.model.cpu()
