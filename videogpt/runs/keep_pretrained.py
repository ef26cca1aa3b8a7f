"""Keeps `pretrained/` of a run folder: what the run makes, with the weights that were validated last.

    Trainer(default_root_dir="runs/tiny", callbacks=[KeepPretrained()])

The model writes it with its method `save_pretrained(folder)`; without that method there is no `pretrained/`. A new one
is written beside the old one and then replaces it, so it is whole at any moment.
"""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from videogpt.runs.folder import PRETRAINED
from videogpt_tokenizer.files.output import writing_to
from videogpt_tokenizer.files.replacing import replacement_of


class KeepPretrained(Callback):
    """Writes `pretrained/` after every validation of a fit, since a run may end at any time."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            save_pretrained(trainer, pl_module)


def save_pretrained(trainer: Trainer, model: LightningModule) -> Path | None:
    """Write `pretrained/` of the run folder, from the first process alone; the folder, or None where none was written.

    OSError: it cannot be written; the earlier one stays.
    """
    save = getattr(model, "save_pretrained", None)
    if save is None or not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
        return None
    folder = Path(trainer.default_root_dir) / PRETRAINED
    with writing_to(folder, "trainer.default_root_dir"), replacement_of(folder, leader=True) as partial:
        save(partial)
    return folder
