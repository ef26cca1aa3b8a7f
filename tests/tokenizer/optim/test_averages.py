"""Averages follow the weights as their decay says."""

import pytest
import torch
from torch import nn

from videogpt_tokenizer.optim.averages import averaged


def test_the_average_follows_with_a_decay_that_rises_to_its_own():
    module = nn.Linear(1, 1, bias=False)
    average = averaged(module, 0.5)
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
    average = averaged(module, 0.9999)
    for step in range(100):
        nn.init.constant_(module.weight, float(step))
        average.update_parameters(module)
    assert average.module.weight.item() > 80


def test_the_average_survives_a_state_dict():
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    average = averaged(module, 0.5)
    average.update_parameters(module)
    resumed = averaged(other, 0.5)
    resumed.load_state_dict(average.state_dict())
    for one in (average, resumed):
        one.update_parameters(other)
    assert torch.equal(average.module.weight, resumed.module.weight)
