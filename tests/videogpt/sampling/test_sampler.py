"""Sampling step by step against a plain sampler that reads whole sequences anew, and what a seed promises."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from einops import rearrange
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.saved_model import SavedModel
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import gumbel_noise
from videogpt.sampling.filters import filter_logits
from videogpt.sampling.sampler import sample_frames

TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)], [5]]
SEEDS = [3, 0, 2**32 - 1, 3]
SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02),
    SamplingConfig(guidance_scale=3.0, top_p=0.9),
]


def sample(model: SavedModel, config: SamplingConfig, texts=TEXTS, seeds=SEEDS, latent_frames: int = 3) -> Tensor:
    """Codes BTHW."""
    examples = [Example(text) for text in texts]
    return torch.stack(list(sample_frames(model.network, model.task, config, examples, seeds, latent_frames)), dim=1)


@contextmanager
def forward_passes(model: SavedModel) -> Iterator[list[int]]:
    """Sequences of each forward pass."""
    batches: list[int] = []
    hook = model.network.embedding.register_forward_hook(lambda _m, ids, _o: batches.append(len(ids[0])))
    try:
        yield batches
    finally:
        hook.remove()


def plain_logits(model: SavedModel, texts: list[list[int]], codes_BTHW: Tensor) -> Tensor:
    """Logits over codes (B, N, V) from one forward over whole sequences, without a cache."""
    sequence = model.task.pack([Example(text, codes) for text, codes in zip(texts, codes_BTHW, strict=True)])
    hidden_BMD = model.network.hidden(sequence)[:, sequence.rows_of("video")]
    return model.network.logits(hidden_BMD, model.task.vocabulary.ids["video"])


@pytest.mark.parametrize("config", SETTINGS, ids=str)
@torch.no_grad()
def test_every_code_is_the_one_a_plain_sampler_draws(tiny_model: SavedModel, config: SamplingConfig) -> None:
    codes_BTHW = sample(tiny_model, config)
    logits_BNV = plain_logits(tiny_model, TEXTS, codes_BTHW)
    if config.guidance_scale != 1.0:
        free_BNV = plain_logits(tiny_model, [[]] * len(TEXTS), codes_BTHW)
        logits_BNV = free_BNV + config.guidance_scale * (logits_BNV - free_BNV)
    for logits_NV, seed, codes_THW in zip(logits_BNV, SEEDS, codes_BTHW, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noise_NV = torch.cat([gumbel_noise((6, 75), generator) for _ in range(3)])
        expected_N = (filter_logits(logits_NV, config) + noise_NV * (config.temperature > 0)).argmax(dim=-1)
        assert torch.equal(rearrange(codes_THW, "t h w -> (t h w)"), expected_N)


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_sample_depends_neither_on_its_batch_nor_on_who_shares_its_prompt(
    tiny_model, config: SamplingConfig, monkeypatch
) -> None:
    texts, seeds = [*TEXTS, TEXTS[0], TEXTS[2]], [*SEEDS, 1, 2]
    together = sample(tiny_model, config, texts, seeds)
    alone = [sample(tiny_model, config, [text], [seed]) for text, seed in zip(texts, seeds, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    monkeypatch.setattr("videogpt.sampling.lanes.eager.shares_prompts", lambda device: True)
    assert torch.equal(sample(tiny_model, config, texts, seeds), together)


def test_prompt_seed_and_guidance_all_matter(tiny_model: SavedModel) -> None:
    plain = sample(tiny_model, SamplingConfig())
    assert not torch.equal(plain[0], plain[3])  # the same seed, another prompt
    assert not torch.equal(plain, sample(tiny_model, SamplingConfig(), seeds=[4, 5, 6, 7]))
    assert not torch.equal(plain, sample(tiny_model, SamplingConfig(guidance_scale=4.0)))


def test_guidance_of_one_is_the_plain_path_without_further_rows_and_zero_ignores_the_prompt(tiny_model) -> None:
    with forward_passes(tiny_model) as batches:
        plain = sample(tiny_model, SamplingConfig(guidance_scale=1.0))
        assert set(batches) == {4}
        guided = sample(tiny_model, SamplingConfig(guidance_scale=1.0 + 1e-9))
        assert set(batches) == {4, 8}
    assert torch.equal(plain, guided)
    free = sample(tiny_model, SamplingConfig(guidance_scale=0.0))
    assert torch.equal(free, sample(tiny_model, SamplingConfig(), texts=[[]] * 4))


def test_only_codes_come_out_however_hot(tiny_model: SavedModel) -> None:
    codes_BTHW = sample(tiny_model, SamplingConfig(temperature=1e6), [[]] * 64, list(range(64)))
    assert codes_BTHW.shape == (64, 3, 2, 3) and codes_BTHW.dtype == torch.int64
    assert codes_BTHW.unique().tolist() == list(range(75))


def test_a_shorter_video_is_the_beginning_of_a_longer_one(tiny_model: SavedModel) -> None:
    config = SamplingConfig(guidance_scale=2.0)
    assert torch.equal(sample(tiny_model, config, latent_frames=2), sample(tiny_model, config)[:, :2])


def test_frames_come_as_they_are_drawn(tiny_model: SavedModel) -> None:
    frames = sample_frames(tiny_model.network, tiny_model.task, SamplingConfig(), [Example([])], [0], 3, lane="eager")
    with forward_passes(tiny_model) as batches:
        for steps in (6, 12, 18):
            next(frames)
            assert len(batches) == steps
    assert not torch.is_inference_mode_enabled()


def test_draws_have_the_models_probabilities() -> None:
    """One code a video, 4,000 seeds: the shares of the codes against the softmax of what top-k leaves."""
    sizes = {"latent_frames": 1, "latent_height": 1, "latent_width": 1}
    task = TextToVideo(LayoutConfig(text_vocab_size=4, codebook_size=6, **sizes))
    network = VideoGPT(VideoGPTConfig(vocab_size=task.vocabulary.size, width=16, depth=2, heads=2, kv_heads=1)).eval()
    config = SamplingConfig(top_k=4, temperature=1.5)
    examples = [Example([1, 2])]
    codes_B = next(sample_frames(network, task, config, examples * 4000, range(4000), 1)).flatten()
    with torch.no_grad():
        hidden_1D = network.hidden(task.prompt(examples, 1).given)[:, -1]
        logits_1V = network.logits(hidden_1D, task.vocabulary.ids["video"])
    expected_V = filter_logits(logits_1V, config).softmax(dim=-1)[0]
    found_V = codes_B.bincount(minlength=6) / 4000
    assert torch.allclose(found_V, expected_V, atol=0.025)  # three standard deviations
    assert torch.equal(found_V > 0, expected_V > 0)


@pytest.mark.gpu
@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_gpu_draws_the_same_codes(tiny_model: SavedModel, config: SamplingConfig) -> None:
    expected = sample(tiny_model, config)
    try:
        tiny_model.network.cuda()
        assert torch.equal(sample(tiny_model, config).cpu(), expected)
    finally:
        tiny_model.network.cpu()
