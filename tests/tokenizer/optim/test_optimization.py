"""Learning rate, weight decay and averaging are what their names say."""

import pytest
import torch
from torch import nn

from videogpt_tokenizer.optim.optimization import (
    OptimizerConfig,
    averaged,
    bfloat16_is_fast,
    configure,
    fast_autocast,
    learning_rate_share,
)


def test_warm_up_then_cosine_down_to_the_final_share():
    config = OptimizerConfig(warmup_steps=10, final_share=0.1)
    shares = [learning_rate_share(step, config, 110) for step in range(200)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == pytest.approx(1.0) and shares[60] == pytest.approx(0.55)
    assert shares[110:] == pytest.approx([0.1] * 90)
    assert all(later <= earlier for earlier, later in zip(shares[10:], shares[11:], strict=False))


def test_only_matrices_are_decayed():
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    optimizer, _ = configure(module, OptimizerConfig(weight_decay=0.3), total_steps=10)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in module.named_parameters()} == {
        "0.weight": 0.3,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def muon_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))


def train(network: nn.Sequential, optimizer: torch.optim.Optimizer, scheduler, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        network(torch.arange(5)).sub(step).square().mean().backward()
        optimizer.step()
        scheduler.step()


def test_muon_turns_the_update_of_a_layer_into_a_rotation():
    layer = nn.Linear(8, 16, bias=False)
    before = layer.weight.detach().clone()
    config = OptimizerConfig(kind="muon", learning_rate=0.01, weight_decay=0.0, warmup_steps=1)
    optimizer, _ = configure(nn.Sequential(layer), config, total_steps=9)
    layer.weight.grad = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    singular = torch.linalg.svdvals(layer.weight.detach() - before) / (0.01 * 0.2 * 16**0.5)
    assert singular.min() > 0.5 and singular.max() < 1.5  # what five Newton-Schulz steps come to


def test_muon_leaves_outer_matrices_and_vectors_to_adamw():
    updates = {}
    for kind in ("adamw", "muon"):
        network = muon_network()
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        train(network, *configure(network, OptimizerConfig(kind=kind), 9, outer=[network[0].weight]), range(1))
        updates[kind] = {name: p - before[name] for name, p in network.named_parameters()}
    same = {name for name, update in updates["muon"].items() if torch.equal(update, updates["adamw"][name])}
    assert same == {"0.weight", "1.bias", "2.weight", "2.bias", "3.bias"}


def test_muon_resumes_from_its_state_dict():
    config = OptimizerConfig(kind="muon", learning_rate=0.01)
    whole, first, second = muon_network(), muon_network(), muon_network()
    train(whole, *configure(whole, config, total_steps=20), range(6))
    optimizer, scheduler = configure(first, config, total_steps=20)
    train(first, optimizer, scheduler, range(3))
    resumed, resumed_schedule = configure(second, config, total_steps=20)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    resumed_schedule.load_state_dict(scheduler.state_dict())
    train(second, resumed, resumed_schedule, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    optimizer, _ = configure(module, OptimizerConfig(), total_steps=10)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_the_average_follows_with_a_decay_that_rises_to_its_own():
    module = nn.Linear(1, 1, bias=False)
    average = averaged(module, OptimizerConfig(ema_decay=0.5))
    expected = None
    for steps, value in enumerate([1.0, 2.0, 4.0, 1.0, 3.0, 8.0, 5.0, 9.0, 7.0, 2.0, 6.0, 3.0, 5.0]):
        decay = min(0.5, (1 + steps) / (10 + steps))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        nn.init.constant_(module.weight, value)
        average.update_parameters(module)
        assert average.module.weight.item() == pytest.approx(expected)
    assert decay == 0.5 and not average.module.weight.requires_grad


def test_the_average_of_a_short_run_is_near_its_end():
    module = nn.Linear(1, 1, bias=False)
    average = averaged(module, OptimizerConfig(ema_decay=0.9999))
    for step in range(100):
        nn.init.constant_(module.weight, float(step))
        average.update_parameters(module)
    assert average.module.weight.item() > 80


def test_the_average_survives_a_state_dict():
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    average = averaged(module, OptimizerConfig(ema_decay=0.5))
    average.update_parameters(module)
    resumed = averaged(other, OptimizerConfig(ema_decay=0.5))
    resumed.load_state_dict(average.state_dict())
    for one in (average, resumed):
        one.update_parameters(other)
    assert torch.equal(average.module.weight, resumed.module.weight)


def test_autocast_is_on_exactly_where_bfloat16_is_fast():
    with fast_autocast(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if bfloat16_is_fast("cpu") else torch.float32)


@pytest.mark.parametrize(
    "setting",
    [{"ema_decay": 1.0}, {"ema_decay": -0.1}, {"learning_rate": -1.0}, {"weight_decay": -1.0}, {"warmup_steps": -1}],
)
def test_an_impossible_setting_is_refused_by_name(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .*for example"):
        OptimizerConfig(**setting)
