"""Learning rate and weight decay are what their names say."""

import pytest
from torch import nn

from videogpt_tokenizer.optim.configure import OptimizerConfig, configure, learning_rate_share


def test_warm_up_then_cosine_down_to_the_final_share():
    config = OptimizerConfig(warmup_steps=10, final_share=0.1)
    shares = [learning_rate_share(step, config, 110) for step in range(200)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == pytest.approx(1.0) and shares[60] == pytest.approx(0.55)
    assert shares[110:] == pytest.approx([0.1] * 90)
    assert all(later <= earlier for earlier, later in zip(shares[10:], shares[11:], strict=False))


def test_only_matrices_are_decayed_and_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4).requires_grad_(False))
    optimizer, _ = configure(module, OptimizerConfig(weight_decay=0.3), total_steps=10)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decays = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


IMPOSSIBLE = {
    "ema_decay": (1.0, -0.1),
    "learning_rate": (-1.0, 0.0),
    "weight_decay": (-1.0,),
    "warmup_steps": (-1,),
    "betas": ((0.9,), (0.9, 1.0)),
    "final_share": (float("nan"),),
    "kind": ("sgd",),
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_an_impossible_setting_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*(for example|choose)"):
        OptimizerConfig(**{name: value})
