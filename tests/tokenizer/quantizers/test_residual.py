"""Residual quantizers: digits of one code, the library's codes and codebooks, several rates from one model."""

import math
from dataclasses import asdict

import pytest
import torch
from vector_quantize_pytorch import ResidualFSQ, ResidualVQ

from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer

RVQ = QuantizerConfig(kind="rvq", codebook_size=12, codebook_dim=5, stages=3)
RFSQ = QuantizerConfig(kind="rfsq", levels=(5, 4, 3), stages=3)
both = pytest.mark.parametrize("config", [RVQ, RFSQ], ids=["rvq", "rfsq"])


def rows(dim: int, clips: int = 4, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(clips, 500, dim, generator=torch.Generator().manual_seed(seed))


def library_indices(quantizer, codes: torch.Tensor) -> torch.Tensor:
    """The codes of every stage as the library has them, -1 where a stage is absent."""
    return torch.stack([quantizer.digit(codes, stage) for stage in range(quantizer.stages)], dim=-1)


def library_of(quantizer) -> ResidualVQ:
    """The library's quantizer with the same codebooks."""
    library = ResidualVQ(
        dim=5, num_quantizers=3, codebook_size=12, quantize_dropout=True, decay=0.99, kmeans_init=True,
        threshold_ema_dead_code=2, commitment_weight=0.25, rotation_trick=False,
    )  # fmt: skip
    library.load_state_dict({f"layers{key.removeprefix('codebooks')}": v for key, v in quantizer.state_dict().items()})
    return library


def test_every_number_below_the_vocabulary_is_a_code_of_its_own():
    quantizer = make_quantizer(QuantizerConfig(kind="rfsq", levels=(3, 4), stages=3))
    assert quantizer.stage_sizes == (12, 12, 12) and quantizer.codebook_size == 12 * 13 * 13
    codes_N = torch.arange(quantizer.codebook_size)
    digits_NS = library_indices(quantizer, codes_N)
    assert digits_NS.unique(dim=0).shape == (len(codes_N), 3)
    assert digits_NS.amin(dim=0).tolist() == [0, -1, -1] and digits_NS.amax(dim=0).tolist() == [11, 11, 11]
    again_N = sum(quantizer.place(stage, digits_NS[:, stage]) for stage in range(3))
    assert torch.equal(again_N, codes_N)


def check_equal(ours, theirs, latents: torch.Tensor) -> None:
    """Codes and values of the latents, and values of any codes, are the library's to the bit."""
    values, codes, _ = ours.quantize_rows(latents)
    expected, indices, *_ = theirs(latents)
    assert torch.equal(values, expected) and torch.equal(library_indices(ours, codes), indices.long())
    anything = torch.randint(ours.codebook_size, (2, 300), generator=torch.Generator().manual_seed(1))
    for some in (codes, anything, anything % ours.stage_sizes[0]):
        expected = theirs.get_output_from_indices(library_indices(ours, some))
        assert torch.equal(ours.lookup_rows(some.flatten()).view_as(expected), expected)


@pytest.mark.parametrize("levels", [(5, 4, 3), (8, 5, 5, 5), (7, 16)])
@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_finite_scalars_equal_the_library(levels, scale):
    ours = make_quantizer(QuantizerConfig(kind="rfsq", levels=levels, stages=3)).eval()
    theirs = ResidualFSQ(levels=list(levels), num_quantizers=3, quantize_dropout=True).eval()
    check_equal(ours, theirs, rows(len(levels), scale=scale))


def test_learned_codebooks_equal_the_library(trained):
    ours = trained(RVQ)
    check_equal(ours, library_of(ours).eval(), rows(5, clips=20, seed=9))


def test_without_dropout_training_makes_the_librarys_codebooks():
    config = QuantizerConfig(kind="rvq", codebook_size=12, codebook_dim=5, stages=3, quantizer_dropout=0.0)
    ours = make_quantizer(config).train()
    theirs = library_of(ours).train()
    theirs.quantize_dropout = False
    for seed in range(4):
        torch.manual_seed(seed)
        values, codes, loss = ours.quantize_rows(rows(5, seed=seed).requires_grad_())
        torch.manual_seed(seed)
        _ = (torch.randint(4, (4,)), torch.rand(4))  # ours draws stages, whatever the dropout
        their_values, indices, losses = theirs(rows(5, seed=seed).requires_grad_())
        assert torch.equal(library_indices(ours, codes), indices)
        torch.testing.assert_close(values, their_values, rtol=0, atol=1e-5)
        torch.testing.assert_close(loss, losses.sum())
    assert torch.equal(ours.tables(), theirs.codebooks)


@both
def test_every_stage_brings_latents_nearer_and_coarser_codes_are_its_prefixes(config, trained):
    quantizer = trained(config)
    latents = rows(quantizer.dim, seed=7)
    values, codes, _ = quantizer.quantize_rows(latents)
    assert torch.equal(quantizer.lookup_rows(codes.flatten()).view_as(values), values)
    target, errors, sum_ = quantizer.bounded(latents), [], 0
    for stage in range(3):
        sum_ = sum_ + quantizer.lookup_stage(stage, quantizer.digit(codes, stage).flatten())
        coarse = quantizer.coarser(codes, stage + 1)
        assert torch.equal(quantizer.lookup_rows(coarse.flatten()), sum_)
        assert (library_indices(quantizer, coarse)[..., stage + 1 :] == -1).all()
        errors.append(float((sum_.view_as(target) - target).square().mean()))
    assert torch.equal(coarse, codes) and errors[1] < 0.7 * errors[0] and errors[2] < 0.7 * errors[1]
    for stages in (0, 4):
        with pytest.raises(ValueError, match="choose 1 to 3"):
            quantizer.coarser(codes, stages)


def test_every_finite_scalar_code_is_reached_by_its_own_latent():
    quantizer = make_quantizer(QuantizerConfig(kind="rfsq", levels=(5, 4), stages=2)).eval()
    codes_N = torch.arange(quantizer.codebook_size)
    codes_N = codes_N[quantizer.digit(codes_N, 1) >= 0]
    reach_D = quantizer.reach_D
    inputs = torch.atanh(quantizer.lookup_rows(codes_N) / reach_D) * reach_D
    assert len(codes_N) == 400 and torch.equal(quantizer.quantize_rows(inputs[None])[1][0], codes_N)


def test_codes_to_latents_to_codes_is_the_identity_where_stages_nest():
    """Later vectors are shorter than half the distance between earlier ones, which other codebooks do not promise."""
    quantizer = make_quantizer(RVQ).eval()
    for stage, layer in enumerate(quantizer.codebooks):
        table = torch.nn.functional.normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(stage)), dim=1)
        layer.codebook = table * 0.05**stage
    codes_N = torch.arange(quantizer.codebook_size)
    codes_N = codes_N[(library_indices(quantizer, codes_N) >= 0).all(dim=1)]
    assert torch.equal(quantizer.quantize_rows(quantizer.lookup_rows(codes_N)[None])[1][0], codes_N)


@both
def test_dropout_leaves_the_later_stages_of_some_clips_out(config, trained):
    quantizer = trained(config)
    latents = rows(quantizer.dim, clips=1200, seed=3)[:, :10]
    _, whole, _ = quantizer.quantize_rows(latents)
    torch.manual_seed(0)
    values, codes, _ = quantizer.train().quantize_rows(latents)
    found = library_indices(quantizer, codes) >= 0
    assert (found == found[:, :1]).all()  # all places of a clip alike
    number_B = found[:, 0].sum(dim=-1)
    assert (found[:, 0] == (torch.arange(3) < number_B[:, None])).all()
    shares = torch.bincount(number_B, minlength=4) / 1200  # half of the clips, evenly; the others have all three
    torch.testing.assert_close(shares, torch.tensor([0, 1, 1, 4]) / 6, rtol=0, atol=0.05)
    if config.kind == "rfsq":  # codebooks move
        torch.testing.assert_close(values, quantizer.lookup_rows(codes.flatten()).view_as(values))
        assert torch.equal(codes[number_B == 3], whole[number_B == 3])
    assert (library_indices(quantizer, whole) >= 0).all()  # evaluation leaves nothing out


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_the_gradient_passes_once_however_many_stages(dropout):
    """The library's quantizers send it through every stage, and so multiply it."""
    quantizer = make_quantizer(QuantizerConfig(kind="rvq", codebook_size=12, codebook_dim=5, quantizer_dropout=dropout))
    latents = rows(5).requires_grad_()
    (gradient,) = torch.autograd.grad(quantizer.train().quantize_rows(latents)[0].sum(), latents)
    assert torch.equal(gradient, torch.ones_like(latents))


def test_what_is_left_out_of_a_clip_does_not_count_as_loss(trained):
    quantizer = trained(RVQ)
    quantizer.dropout = 1.0
    latents = rows(5, clips=30, seed=5)
    before = quantizer.tables()
    torch.manual_seed(1)
    _, codes, loss = quantizer.train().quantize_rows(latents)
    rest, expected = latents, 0.0
    for stage in range(3):
        digits = (latents.new_zeros(30, 500) if stage == 0 else 0) + quantizer.digit(codes, stage)
        kept = digits >= 0
        rest = rest - before[stage][digits.long().clamp(min=0)]
        expected += 0.25 * float((rest.square() * kept[..., None]).mean())
    assert 0 < expected == pytest.approx(float(loss), rel=1e-4)


def test_bits_and_counts_are_those_of_the_stages():
    quantizer = make_quantizer(RVQ)
    assert quantizer.bits_per_code() == pytest.approx(3 * math.log2(12)) and quantizer.stages == 3
    assert quantizer.bits_per_code(1) == pytest.approx(math.log2(12))
    codes = quantizer.place(0, torch.tensor([4, 4, 7])) + torch.tensor([0, quantizer.place(1, torch.tensor(11)), 0])
    counts_SV = quantizer.count(codes)
    assert counts_SV.shape == (3, 12) and counts_SV.sum(dim=1).tolist() == [3, 1, 0]
    assert counts_SV[0, 4] == 2 and counts_SV[0, 7] == 1 and counts_SV[1, 11] == 1
    single = make_quantizer(QuantizerConfig(levels=(4, 3)))
    assert single.stages == 1 and single.bits_per_code() == math.log2(12)
    assert torch.equal(single.coarser(codes % 12, 1), codes % 12) and single.count(codes % 12).shape == (1, 12)


def test_codes_of_forty_bits_come_and_go():
    quantizer = make_quantizer(QuantizerConfig(kind="rfsq", levels=(8, 8, 8), stages=6)).eval()
    latents = torch.randn(1, 1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    quantized = quantizer(latents)
    assert quantizer.codebook_size > 2**54 and quantized.codes_BTHW.max() > 2**53
    assert torch.equal(quantizer.lookup(quantized.codes_BTHW), quantized.latents_BTHWD)
    assert quantizer.count(quantized.codes_BTHW).shape == (6, 512)


@both
def test_a_tokenizer_decodes_codes_of_every_rate(config, make_tokenizer):
    tokenizer = make_tokenizer(widths=(16,), quantizer=asdict(config))
    tokenizer.quantizer.train()(rows(tokenizer.quantizer.dim)[:, :, None, None])
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    codes = tokenizer.eval().encode(video)
    assert tokenizer.stages == 3 and tokenizer.bits_per_code(2) == tokenizer.quantizer.bits_per_code(2)
    coarse = tokenizer.coarser(codes, 1)
    assert coarse.max() < tokenizer.quantizer.stage_sizes[0] and not torch.equal(coarse, codes)
    assert tokenizer.decode(coarse).shape == video.shape
    assert not torch.equal(tokenizer.decode(coarse), tokenizer.decode(codes))
