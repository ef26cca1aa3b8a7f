"""Codes drawn digit by digit: against a plain sampler by hand, by their shares, and in every lane."""

import dataclasses

import pytest
import torch
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.heads import LevelHead
from videogpt.model.network import VideoGPT
from videogpt.pipeline.saved_model import SavedModel
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.draw import gumbel_noise
from videogpt.sampling.filters import filter_logits
from videogpt.sampling.sampler import sample_frames

LEVELS, STRIDES = (5, 5, 3), (1, 5, 25)
TEXTS = [[7, 8, 9], [], [20 + i for i in range(13)], [5]]
SEEDS = [3, 0, 2**32 - 1, 3]
SETTINGS = [
    SamplingConfig(),
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=0.8, top_k=4, top_p=0.9, min_p=0.02),
    SamplingConfig(guidance_scale=3.0, top_p=0.9),
]


def sample(model: SavedModel, config: SamplingConfig, texts=TEXTS, seeds=SEEDS, lane: str = "eager") -> Tensor:
    """Codes BTHW."""
    examples = [Example(text) for text in texts]
    return torch.stack(list(sample_frames(model.network, model.task, config, examples, seeds, 3, lane=lane)), dim=1)


def head_of(model: SavedModel) -> LevelHead:
    assert model.network.level_head is not None
    return model.network.level_head


@pytest.mark.parametrize("config", SETTINGS, ids=str)
@torch.no_grad()
def test_every_digit_is_the_one_a_plain_sampler_draws(tiny_model_by_level: SavedModel, config: SamplingConfig) -> None:
    model, codes_BTHW = tiny_model_by_level, sample(tiny_model_by_level, config)

    def hidden(text: list[int], codes_THW: Tensor) -> Tensor:
        sequence = model.task.pack([Example(text, codes_THW)])
        return model.network.hidden(sequence)[:, sequence.rows_of("video")]

    for text, seed, codes_THW in zip(TEXTS, SEEDS, codes_BTHW, strict=True):
        generator = torch.Generator().manual_seed(seed)
        noises_N = torch.cat([gumbel_noise((3, 13), generator) for _ in range(6)])
        prompted_1ND, free_1ND = hidden(text, codes_THW), hidden([], codes_THW)
        digits_1NK = torch.stack([codes_THW.flatten() // s % v for s, v in zip(STRIDES, LEVELS, strict=True)], -1)[None]
        for level, noise_NV in enumerate(noises_N.split(LEVELS, dim=1)):
            before = digits_1NK[..., :level]
            logits_NV, free_NV = (head_of(model).logits(x, before)[0] for x in (prompted_1ND, free_1ND))
            logits_NV = free_NV + config.guidance_scale * (logits_NV - free_NV)
            drawn = (filter_logits(logits_NV, config) + noise_NV * (config.temperature > 0)).argmax(dim=-1)
            assert torch.equal(drawn, digits_1NK[0, :, level])


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_lanes_and_batches_draw_the_same(tiny_model_by_level: SavedModel, config: SamplingConfig) -> None:
    expected = sample(tiny_model_by_level, config)
    assert torch.equal(sample(tiny_model_by_level, config, lane="jacobi"), expected)
    alone = [sample(tiny_model_by_level, config, [t], [seed]) for t, seed in zip(TEXTS, SEEDS, strict=True)]
    assert torch.equal(torch.cat(alone), expected)


def test_prompt_seed_and_guidance_all_matter(tiny_model_by_level: SavedModel) -> None:
    plain = sample(tiny_model_by_level, SamplingConfig())
    assert not torch.equal(plain[0], plain[3]), "the same seed, another prompt"
    assert not torch.equal(plain, sample(tiny_model_by_level, SamplingConfig(), seeds=[4, 5, 6, 7]))
    assert not torch.equal(plain, sample(tiny_model_by_level, SamplingConfig(guidance_scale=4.0)))


def test_only_codes_come_out_however_hot(tiny_model_by_level: SavedModel) -> None:
    codes_BTHW = sample(tiny_model_by_level, SamplingConfig(temperature=1e6), [[]] * 64, list(range(64)))
    assert codes_BTHW.dtype == torch.int64 and codes_BTHW.unique().tolist() == list(range(75))


def test_draws_have_the_models_probabilities() -> None:
    """One code a video, 4,000 seeds: the shares of the codes against products of what top-k leaves of a digit."""
    task = TextToVideo(
        LayoutConfig(text_vocab_size=4, codebook_size=6, latent_frames=1, latent_height=1, latent_width=1)
    )
    sizes = VideoGPTConfig(vocab_size=task.vocabulary.size, width=16, depth=2, heads=2, kv_heads=1)
    codes = {"head": "levels", "code_levels": (3, 2), "code_start": task.vocabulary.ids["video"].start}
    network = VideoGPT(dataclasses.replace(sizes, **codes)).eval()
    assert network.level_head is not None
    with torch.no_grad():
        for level in network.level_head.levels:
            level.get_parameter("values.weight").mul_(8)
    config, examples = SamplingConfig(top_k=2, temperature=1.5), [Example([1, 2])]
    codes_B = next(sample_frames(network, task, config, examples * 4000, range(4000), 1)).flatten()
    expected_V = torch.zeros(6)
    with torch.no_grad():
        hidden_11D = network.hidden(task.prompt(examples, 1).given)[:, -1:]
        for code in range(6):
            low, high = torch.tensor([[[code % 3]]]), code // 3
            p_low = filter_logits(network.level_head.logits(hidden_11D, low[..., :0])[0], config).softmax(-1)
            p_high = filter_logits(network.level_head.logits(hidden_11D, low)[0], config).softmax(-1)
            expected_V[code] = p_low[0, code % 3] * p_high[0, high]
    found_V = codes_B.bincount(minlength=6) / 4000
    assert torch.allclose(found_V, expected_V, atol=0.025)  # three standard deviations
    assert torch.equal(found_V > 0, expected_V > 0) and 0 in found_V
    assert not torch.allclose(expected_V, expected_V.view(2, 3).sum(1).repeat_interleave(3) / 3, atol=0.025)
