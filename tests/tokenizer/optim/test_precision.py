"""Numbers of 16 bits exactly where they are faster."""

import torch

from videogpt_tokenizer.optim.precision import bfloat16_is_fast, fast_autocast


def test_autocast_is_on_exactly_where_bfloat16_is_fast():
    with fast_autocast(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if bfloat16_is_fast("cpu") else torch.float32)
