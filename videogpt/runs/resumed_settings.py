"""Gives a resumed run the optimizer settings of its configuration, not those of its checkpoint.

Trainer(default_root_dir="runs/tiny", callbacks=[ConfiguredOptimizers()])
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from videogpt.console.messages import say


class ConfiguredOptimizers(Callback):
    """Puts configured settings back after a checkpoint has been loaded, and says which.

    A checkpoint brings the settings of the optimizers along with their state. Learning rates change in proportion, so
    that schedules go on.
    """

    def __init__(self) -> None:
        self._configured: list[dict[str, Any]] = []
        self._stored: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"settings": self._configured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stored = state_dict["settings"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._configured = [_settings(group) for group in _groups(trainer)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        lines = {}
        for group, now, then in zip(_groups(trainer), self._configured, self._stored, strict=False):
            for key in now.keys() & then.keys():
                if now[key] != then[key]:
                    in_proportion = key in ("lr", "initial_lr") and then[key]
                    group[key] = group[key] * now[key] / then[key] if in_proportion else now[key]
                    lines[key] = f"optimizer {key} goes on from the configured {now[key]!r}, not {then[key]!r}"
        if "initial_lr" in lines:  # with a schedule: `lr` follows from it
            lines.pop("lr", None)
            for config in trainer.lr_scheduler_configs:
                config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]
        for line in lines.values():
            say(line)


def _groups(trainer: Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """Plain values only: they go into the checkpoint."""
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in group.items()}
    del settings["params"]
    return {key: float(value) if isinstance(value, Tensor) else value for key, value in settings.items()}
