"""What codes cost once a model predicts them: bits per code under a `CodePrior` trained on them.

    bits = bits_per_code(tokenizer, data.train_dataloader(), data.val_dataloader(), steps=400)

The tokenizer stays as it is. For fsq alone, as the prior is.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from videogpt_tokenizer.training.code_prior import CodePrior, PriorConfig
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

# B batch, T latent frames, H/W latent grid, D quantizer width


def bits_per_code(
    tokenizer: VideoTokenizer,
    training: Iterable[dict[str, Any]],
    unseen: Iterable[dict[str, Any]],
    steps: int,
    config: PriorConfig | None = None,
) -> float:
    """Bits of the codes of unseen clips, each clip counting as much as its codes, after so many steps on the others."""
    torch.manual_seed(0)
    prior = CodePrior(config or PriorConfig(), tokenizer.config.quantizer.levels)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    batches = _endless(training)
    for _ in range(steps):
        loss = prior(_latents(tokenizer, next(batches)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found = [(prior(latents), latents[..., 0].numel()) for latents in (_latents(tokenizer, x) for x in unseen)]
    return sum(float(bits) * count for bits, count in found) / sum(count for _, count in found)


@torch.no_grad()
def _latents(tokenizer: VideoTokenizer, batch: dict[str, Any]) -> Tensor:
    return tokenizer.quantizer.lookup(tokenizer.encode(batch["video"]))


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches
