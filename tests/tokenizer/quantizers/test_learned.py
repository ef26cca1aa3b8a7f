"""Quantizers: inverse of themselves, equal to the library, moved by training, deaf to autocast."""

import math
import os
import socket
import subprocess
import sys

import pytest
import torch
from einops import rearrange

from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig, make_quantizer

CONFIGS = [
    QuantizerConfig(kind="fsq", levels=(8, 5, 5, 5)),
    QuantizerConfig(kind="fsq", levels=(7, 6, 4, 3)),
    QuantizerConfig(kind="vq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="simvq", codebook_size=64, codebook_dim=6),
    QuantizerConfig(kind="lfq", codebook_size=256),
    QuantizerConfig(kind="bsq", codebook_size=256),
    QuantizerConfig(kind="rvq", codebook_size=16, codebook_dim=6, stages=3),
    QuantizerConfig(kind="rfsq", levels=(5, 4, 3), stages=3),
]


def latents(dim: int, scale: float = 1.5, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(2, 3, 4, 5, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_codes_to_latents_to_codes_is_the_identity(config):
    quantizer = make_quantizer(config).train()
    quantizer(latents(quantizer.dim))  # k-means and the first codebook update happen here
    quantizer.eval()
    quantized = quantizer(latents(quantizer.dim))
    assert quantized.codes_BTHW.dtype == torch.int64 and quantized.codes_BTHW.shape == (2, 3, 4, 5)
    torch.testing.assert_close(quantizer.lookup(quantized.codes_BTHW), quantized.latents_BTHWD)
    if config.kind not in ("fsq", "rvq", "rfsq"):  # those have tests of their own
        assert torch.equal(quantizer(quantized.latents_BTHWD).codes_BTHW, quantized.codes_BTHW)


def library_evaluation(quantizer, rows_1ND):
    """Vectors and codes of the library's own evaluation."""
    result = quantizer.codebook.eval()(rows_1ND)
    return result[0], result[1].long()


@pytest.mark.parametrize("config", CONFIGS[2:6], ids=str)
def test_evaluation_equals_the_library_code_for_code(config):
    quantizer = make_quantizer(config).train()
    for seed in range(3):
        quantizer(latents(quantizer.dim, seed=seed))
    rows_1ND = torch.randn(1, 20_000, quantizer.dim, generator=torch.Generator().manual_seed(0))
    ours, codes, loss = quantizer.eval().quantize_rows(rows_1ND)
    theirs, their_codes = library_evaluation(quantizer, rows_1ND)
    assert torch.equal(codes, their_codes) and codes.unique().numel() > 50 and loss == 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)  # the library subtracts the vector and adds it again
    their_lookup = getattr(quantizer.codebook, "indices_to_codes", None) or quantizer.codebook.get_codes_from_indices
    every_code = torch.arange(quantizer.codebook_size)
    torch.testing.assert_close(quantizer.lookup_rows(every_code), their_lookup(every_code[None])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dim", range(1, 19))
def test_channels_of_the_sphere_are_the_librarys_to_the_last_bit(dim):
    from vector_quantize_pytorch import LFQ

    quantizer = make_quantizer(QuantizerConfig(kind="bsq", codebook_size=2**dim))
    codes_N = torch.randint(2**dim, (50,), generator=torch.Generator().manual_seed(dim))
    theirs = LFQ(codebook_size=2**dim, dim=dim, spherical=True).indices_to_codes(codes_N[None])[0]
    assert torch.equal(quantizer.lookup_rows(codes_N), theirs)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_evaluation_leaves_the_state_alone(config):
    quantizer = make_quantizer(config).eval()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.lookup(quantizer(latents(quantizer.dim)).codes_BTHW)
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_row_has_the_same_code_in_any_batch(config):
    quantizer = make_quantizer(config).train()
    quantizer(latents(quantizer.dim))
    video = latents(quantizer.dim, seed=1)
    codes = quantizer.eval()(video).codes_BTHW
    alone = torch.cat([quantizer(frame).codes_BTHW for frame in video.split(1, dim=1)], dim=1)
    assert torch.equal(alone, codes)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 8, 8, 5, 5, 5), (7, 6, 4, 3)])
def test_finite_scalar_quantizer_equals_the_library_bit_for_bit(levels):
    from vector_quantize_pytorch import FSQ

    ours, theirs = make_quantizer(QuantizerConfig(levels=levels)), FSQ(levels=list(levels))
    video = latents(len(levels), scale=2.0)
    quantized = ours(video)
    expected, expected_codes = theirs(rearrange(video, "b t h w d -> b (t h w) d"))
    assert torch.equal(rearrange(quantized.latents_BTHWD, "b t h w d -> b (t h w) d"), expected)
    assert torch.equal(rearrange(quantized.codes_BTHW, "b t h w -> b (t h w)"), expected_codes.long())
    every_code = torch.arange(ours.codebook_size)
    assert torch.equal(ours.lookup_rows(every_code), theirs.indices_to_codes(every_code))


def test_every_fsq_code_is_reached_by_its_own_latent():
    quantizer = make_quantizer(QuantizerConfig(levels=(8, 5, 3)))
    codes_N = torch.arange(quantizer.codebook_size)
    steps = quantizer.lookup_rows(codes_N) * (quantizer.levels_K // 2)
    half_range = (quantizer.levels_K - 1) * (1 + 1e-3) / 2
    offset = torch.where(quantizer.levels_K % 2 == 0, 0.5, 0.0)
    inputs = torch.atanh((steps + offset) / half_range) - torch.atanh(offset / half_range)
    assert torch.equal(quantizer.quantize_rows(inputs)[1], codes_N)


def test_commitment_draws_latents_to_the_levels_they_are_rounded_to():
    quantizer = make_quantizer(QuantizerConfig(levels=(8, 5), commitment=2.0))
    latents = torch.randn(1, 1, 4, 4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = quantizer(latents)
    before.loss.backward()
    after = quantizer(latents.detach() - 0.1 * latents.grad)
    assert torch.equal(after.codes_BTHW, before.codes_BTHW) and 0 < after.loss < before.loss
    half_way = torch.full((1, 1, 1, 1, 1), math.atanh(0.5 / 2.002))  # between level 0 and level 1 of five
    loss = make_quantizer(QuantizerConfig(levels=(5,), commitment=2.0))(half_way).loss
    assert float(loss) == pytest.approx(2.0 * 0.5**2)


@pytest.mark.parametrize("config", CONFIGS[1:], ids=str)
def test_training_sends_a_gradient_through(config):
    quantizer = make_quantizer(config).train()
    video = latents(quantizer.dim).requires_grad_()
    quantizer(video).latents_BTHWD.square().sum().backward()
    assert video.grad is not None and video.grad.abs().sum() > 0


@pytest.mark.parametrize("config", CONFIGS[2:], ids=str)
def test_training_moves_latents_and_codebook_together(config):
    quantizer = make_quantizer(config).train()
    video = torch.nn.Parameter(latents(quantizer.dim))
    optimizer = torch.optim.SGD([video, *quantizer.parameters()], lr=0.5)
    first = last = None
    for _ in range(30):
        optimizer.zero_grad()
        quantized = quantizer(video)
        distance = 1 - torch.cosine_similarity(quantized.latents_BTHWD, video, dim=-1).mean().detach()
        first, last = distance if first is None else first, distance
        (quantized.loss * 100).backward()
        optimizer.step()
    assert last < 0.9 * first


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_codes_and_latents_do_not_depend_on_autocast(config):
    quantizer = make_quantizer(config).train()
    video = latents(quantizer.dim)
    quantizer(video)
    quantizer.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = quantizer(video).codes_BTHW
        found = quantizer.lookup(inside)
    assert torch.equal(inside, quantizer(video).codes_BTHW) and torch.equal(found, quantizer.lookup(inside))


@pytest.mark.parametrize("kind", ["vq", "simvq", "rvq"])
def test_a_resumed_codebook_goes_on_as_if_never_interrupted(kind):
    config = QuantizerConfig(kind=kind, codebook_size=32, codebook_dim=4, stages=2)
    trained, resumed = make_quantizer(config).train(), make_quantizer(config).train()
    trained(latents(4))
    resumed.load_state_dict(trained.state_dict())
    every_code = torch.arange(trained.codebook_size)
    assert torch.equal(resumed.lookup_rows(every_code), trained.lookup_rows(every_code))
    for quantizer in (trained, resumed):
        torch.manual_seed(0)  # dead codes restart from random latents
        quantizer(latents(4, scale=1.0))
    assert torch.equal(resumed.lookup_rows(every_code), trained.lookup_rows(every_code))


ONE_OF_TWO = """
import os
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from videogpt_tokenizer.training.adversarial import AdversarialConfig, Adversary
from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig, make_quantizer

configs = [QuantizerConfig(kind=kind, codebook_size=16, codebook_dim=4, stages=2) for kind in ("vq", "simvq", "rvq")]
torch.manual_seed(int(os.environ["RANK"]))
quantizers = [make_quantizer(config).train() for config in configs]  # before the processes meet, as under Lightning
distributed.init_process_group("gloo")
rank = distributed.get_rank()
for quantizer in quantizers:
    learned = any(parameter.requires_grad for parameter in quantizer.parameters())
    trained = DistributedDataParallel(quantizer) if learned else quantizer
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1) if learned else None
    for _ in range(4):
        latents = torch.randn(2, 2, 8, 8, 4) + rank
        loss = trained(latents).loss
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    mine = quantizer.tables()
    both = [torch.empty_like(mine) for _ in range(2)]
    distributed.all_gather(both, mine)
    assert torch.equal(*both), type(quantizer)
adversary = Adversary(AdversarialConfig(start_step=0, width=8, depth=2))
video, target = torch.randn(2, 1, 3, 3, 16, 16) + rank
adversary.frames.discriminator_loss(video, target, lecam=0.1)
mine = torch.stack([adversary.frames.real_average, adversary.frames.fake_average])
both = [torch.empty_like(mine) for _ in range(2)]
distributed.all_gather(both, mine)
assert torch.equal(*both) and mine.ne(0).all(), "averages of LeCam"
distributed.barrier()
os._exit(0)  # gloo's own threads may outlive its process group, and abort a Python that ends in order
"""


def test_two_processes_stay_in_step():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-c", ONE_OF_TWO]
    processes = [subprocess.Popen(command, env=common | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]


def test_codes_outside_the_codebook_are_refused():
    quantizer = make_quantizer(QuantizerConfig(levels=(4, 3)))
    with pytest.raises(ValueError, match="0 to 11"):
        quantizer.lookup(torch.full((1, 1, 2, 2), 12))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pq"},
        {"levels": (8, 2)},
        {"levels": ()},
        {"kind": "lfq", "codebook_size": 1000},
        {"levels": (1001, 3)},
        {"kind": "bsq", "codebook_size": 2**19},
    ],
)
def test_a_wrong_configuration_says_what_is_right(wrong):
    with pytest.raises(ValueError, match="choose|3 or more|power of two|or less"):
        QuantizerConfig(**wrong)
