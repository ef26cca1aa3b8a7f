"""Muon steps the matrices of the layers, AdamW the rest, and both resume."""

import torch
from torch import nn

from videogpt_tokenizer.optim.configure import OptimizerConfig, configure


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
