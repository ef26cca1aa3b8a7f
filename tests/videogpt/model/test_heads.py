"""Codes by level: digits are the quantizer's, probabilities add up to one, and a digit is told of those before it."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.task import Example
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.heads import LevelEmbedding, LevelHead, codes_of, digits_of, levels_of
from videogpt.model.likelihood import row_nats
from videogpt.model.network import VideoGPT
from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer
from videogpt_tokenizer.quantizers.finite_scalar import FiniteScalarQuantizer

LEVELS = (5, 4, 3)
GRID = {"latent_frames": 2, "latent_height": 2, "latent_width": 3}
TASK = TextToVideo(LayoutConfig(text_vocab_size=9, codebook_size=60, max_text_tokens=16, **GRID))
VIDEO_IDS, TEXT_IDS = TASK.vocabulary.ids["video"], TASK.vocabulary.ids["text"]
CONFIG = VideoGPTConfig(
    vocab_size=TASK.vocabulary.size,
    width=32,
    depth=1,
    heads=2,
    kv_heads=1,
    head="levels",
    embedding="levels",
    code_levels=LEVELS,
    code_start=VIDEO_IDS.start,
)


def sequence(count: int = 3) -> Any:
    texts = [[1, 2, 3], [], [4]] * count
    return TASK.pack([Example(text, torch.randint(60, (2, 2, 3))) for text in texts[:count]])


def test_digits_are_the_channels_of_a_finite_scalar_quantizer() -> None:
    quantizer, codes_N = FiniteScalarQuantizer(LEVELS), torch.arange(60)
    digits_NK = digits_of(codes_N, LEVELS)
    half_K = quantizer.levels_K // 2
    torch.testing.assert_close(quantizer.lookup_rows(codes_N), (digits_NK - half_K) / half_K)
    assert torch.equal(codes_of(digits_NK, LEVELS), codes_N)


@torch.no_grad()
def test_probabilities_of_all_codes_add_up_to_one_and_are_products_over_the_levels() -> None:
    head, codes_BM = LevelHead(LEVELS, width=32), torch.arange(60).repeat(2, 1)
    hidden_BMD = 3 * torch.randn(2, 1, 32).expand(2, 60, 32)
    nats_BM = head.nats(hidden_BMD, codes_BM)
    torch.testing.assert_close((-nats_BM).exp().sum(dim=1), torch.ones(2))
    assert nats_BM.std() > 0.1, "a head without opinions proves nothing"
    digits, by_hand = digits_of(codes_BM, LEVELS), torch.zeros(2, 60)
    for level in range(3):
        log_p = head.logits(hidden_BMD, digits[..., :level]).log_softmax(dim=-1)
        by_hand -= log_p.gather(-1, digits[..., level : level + 1])[..., 0]
    torch.testing.assert_close(nats_BM, by_hand)


def test_a_digit_is_foreseen_from_those_before_it() -> None:
    head, values = LevelHead((4, 4, 4), width=16), torch.randint(4, (1, 256))
    codes_BM = codes_of(torch.stack([values, 3 - values, values], dim=-1), (4, 4, 4))
    hidden_BMD, optimizer = torch.ones(1, 256, 16), torch.optim.Adam(head.parameters(), lr=3e-2)
    for _ in range(80):
        loss = head.nats(hidden_BMD, codes_BM).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(math.log(4), abs=0.05), "of three digits only the first is unknown"


@torch.no_grad()
def test_ids_around_the_codes_have_vectors_of_their_own_and_codes_those_of_their_digits() -> None:
    embedding = LevelEmbedding(70, 8, range(6, 66), LEVELS)
    ids = torch.arange(70)
    found = embedding(ids)
    assert len(embedding.weight) == 10 and len(embedding.digits.weight) == sum(LEVELS)
    assert torch.equal(found[[*range(6), *range(66, 70)]], embedding.weight)
    starts = torch.tensor([0, 5, 9])
    for code in (0, 7, 59):
        rows = embedding.digits.weight[digits_of(torch.tensor(code), LEVELS) + starts]
        torch.testing.assert_close(found[6 + code], rows.sum(dim=0))


@pytest.mark.parametrize("tie_head", [False, True])
@pytest.mark.parametrize("embedding", ["table", "levels"])
@torch.no_grad()
def test_the_rest_of_the_vocabulary_keeps_its_flat_head(tie_head: bool, embedding: str) -> None:
    """Also ids behind the codes, as further modalities have them."""
    config = dataclasses.replace(CONFIG, vocab_size=VIDEO_IDS.stop + 4, tie_head=tie_head, embedding=embedding)
    network, hidden_BMD = VideoGPT(config), torch.randn(1, 2, 32)
    last = range(VIDEO_IDS.stop, VIDEO_IDS.stop + 4)
    table = network.embedding.weight if network.head is None else network.head.weight
    torch.testing.assert_close(
        network.logits(hidden_BMD, TEXT_IDS), hidden_BMD @ table[TEXT_IDS.start : TEXT_IDS.stop].T
    )
    torch.testing.assert_close(network.logits(hidden_BMD, last), hidden_BMD @ table[-4:].T)
    for ids in (
        None,
        VIDEO_IDS,
        range(VIDEO_IDS.start + 3, VIDEO_IDS.start + 4),
        range(VIDEO_IDS.stop - 1, VIDEO_IDS.stop + 1),
    ):
        with pytest.raises(ValueError, match="hold codes, of which a head of levels has no logits"):
            network.logits(hidden_BMD, ids)
    assert network.num_parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("without_padding", [False, True])
@torch.no_grad()
def test_nats_of_a_sequence_are_those_of_its_codes(without_padding: bool) -> None:
    network = VideoGPT(CONFIG).eval()
    examples = [Example(text, torch.randint(60, (2, 2, 3))) for text in ([1, 2, 3], [], [4])]
    packed = TASK.pack(examples, without_padding=without_padding)
    nats_BN, hidden_BND = row_nats(network, packed, TASK.vocabulary), network.hidden(packed)
    rows = packed.rows_of("video")
    assert network.level_head is not None
    expected = network.level_head.nats(hidden_BND[:, rows], packed.targets_BN[:, rows] - VIDEO_IDS.start)
    torch.testing.assert_close(nats_BN[:, rows], expected)


@pytest.mark.parametrize(("head", "embedding"), [("levels", "table"), ("flat", "levels"), ("levels", "levels")])
def test_gradients_reach_every_parameter(head: Any, embedding: Any) -> None:
    network, packed = VideoGPT(dataclasses.replace(CONFIG, head=head, embedding=embedding)), sequence(30)
    row_nats(network, packed, TASK.vocabulary).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@torch.no_grad()
def test_many_logits_are_never_made_together_and_the_nats_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, packed = VideoGPT(dataclasses.replace(CONFIG, head="flat")).eval(), sequence()
    expected, asked = row_nats(network, packed, TASK.vocabulary), []
    monkeypatch.setattr("videogpt.model.network.MOST_LOGITS", 500)
    monkeypatch.setattr(F, "cross_entropy", lambda logits, *_, **__: asked.append(logits.numel()) or logits[:, 0])
    found = row_nats(network, packed, TASK.vocabulary)
    rows = packed.rows_of("video")
    torch.testing.assert_close(found[:, rows], expected[:, rows])
    assert len(asked) == 1 and asked[0] <= 500, "only those of the text"


@pytest.mark.parametrize("kind", ["fsq", "vq", "simvq", "lfq", "bsq", "rvq", "rfsq"])
def test_levels_of_every_quantizer_make_all_its_codes(kind: Any) -> None:
    config = QuantizerConfig(kind=kind, levels=(5, 4, 3), codebook_size=64, stages=3)
    size = make_quantizer(config).codebook_size
    levels = levels_of(config, size)
    assert math.prod(levels) == size and min(levels) > 1 and len(levels) > 1


def test_digits_of_a_residual_quantizer_are_its_stages() -> None:
    config = QuantizerConfig(kind="rfsq", levels=(5, 3), stages=3)
    quantizer = make_quantizer(config)
    codes_N = torch.arange(quantizer.codebook_size)
    digits_NK = digits_of(codes_N, levels_of(config, quantizer.codebook_size))
    for stage in range(3):
        assert torch.equal(digits_NK[:, stage] - int(stage > 0), quantizer.digit(codes_N, stage))


def test_a_codebook_of_a_prime_size_has_no_levels() -> None:
    with pytest.raises(ValueError, match="1009 codes have no digits"):
        levels_of(QuantizerConfig(kind="vq", codebook_size=1009), 1009)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "both"}, "head is 'both'; choose flat or levels"),
        ({"embedding": "sum"}, "embedding is 'sum'; choose table or levels"),
        ({"code_levels": (5, 1)}, "code_levels is 1"),
        ({"code_start": 14}, "codes from id 14 on, of levels .5, 4, 3., exceed vocab_size 73"),
        ({"head": "flat", "tie_head": True}, "tie_head needs a vector for each code"),
    ],
)
def test_impossible_levels_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_network_by_levels_needs_levels() -> None:
    with pytest.raises(ValueError, match="code_levels is empty"):
        VideoGPT(dataclasses.replace(CONFIG, code_levels=()))


def test_settings_of_a_flat_network_are_those_of_before() -> None:
    flat = VideoGPTConfig(vocab_size=100)
    assert "head" not in flat.settings() and VideoGPTConfig(**flat.settings()) == flat
    assert VideoGPTConfig(**CONFIG.settings()) == CONFIG
