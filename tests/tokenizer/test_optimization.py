"""Learning rate, weight decay and averaging are what their names say."""

import pytest
import torch
from torch import nn

from videogpt_tokenizer.optimization import (
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


def test_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False))
    optimizer, _ = configure(module, OptimizerConfig(), total_steps=10)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_the_average_follows_with_its_decay():
    module = nn.Linear(1, 1, bias=False)
    average = averaged(module, OptimizerConfig(ema_decay=0.9))
    for value in (1.0, 2.0):
        nn.init.constant_(module.weight, value)
        average.update_parameters(module)
    assert average.module.weight.item() == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)
    assert not average.module.weight.requires_grad


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


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_an_impossible_decay_is_refused(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        OptimizerConfig(ema_decay=decay)
