"""Muon for the matrices of the layers, AdamW for everything else, as one optimiser.

    optimizer = MuonAdamW(matrices, adamw_groups, lr=5e-3, weight_decay=0.1, betas=(0.9, 0.95))

The matrices are those within layers, of two axes, neither embedding nor head; all other parameters are in the groups.
Both halves are torch's own. They share their groups and their state with this object, so that schedulers, gradient
clipping and checkpoints see one ordinary optimiser. Muon's updates are scaled to the size of AdamW's (Liu et al. 2025,
arXiv:2502.16982): one learning rate suits both.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class MuonAdamW(torch.optim.Optimizer):
    """One step of each half is a step of this optimiser."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        adamw_groups: list[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        """`lr` is the peak of both halves, `weight_decay` that of the matrices; the groups have their own."""
        self._muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(adamw_groups, lr=lr, betas=betas, fused=True)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], defaults={})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = None if closure is None else closure()
        self._muon.step()
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        self._muon.state = self._adamw.state = self.state
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
