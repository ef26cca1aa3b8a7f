"""What lies where in the folder of a training run, and how such a folder is told from what a run has made.

    runs/NAME/config.yaml                configuration of the latest fit, written once it has trained a step
    runs/NAME/checkpoints/last.ckpt      checkpoint that a further fit goes on from
    runs/NAME/pretrained/                model or tokenizer that the run makes, written at every validation
    runs/NAME/events.out.tfevents.*      TensorBoard
    runs/NAME/.fit.lock                  while a fit trains there

    find_last(Path("runs/tiny"))
    refuse_run_folder(Path("runs/tiny"))       # ValueError: ... give what the run has made, runs/tiny/pretrained

Imports nothing heavy: the pipeline needs this and nothing else of runs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LAST = Path("checkpoints") / "last.ckpt"
CONFIG = "config.yaml"
PRETRAINED = "pretrained"

_LOCK = ".fit.lock"
_RANKS = ("NODE_RANK", "GROUP_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_RESULT_CONFIG = "config.json"  # of every model and tokenizer folder


def find_last(root: Path) -> Path | None:
    """The newest checkpoint to go on from: the run's own, or the one written when SLURM requeues a job."""
    found = [path for path in (root / LAST, *root.glob("hpc_ckpt_*.ckpt")) if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


@contextmanager
def only_fit_in(root: Path) -> Iterator[None]:
    """Hold the run's folder, which is made if need be, and goes again where nothing has been written into it.

    Two that train in one folder would each go on from what the other has left. A fit that was killed holds nothing, see
    `locks`; where the file system has no locks, nobody is refused.

    Raises:
        ValueError: another fit holds the folder.
    """
    from videogpt_tokenizer.files.locks import locked, owner_of
    from videogpt_tokenizer.files.output import output_folder

    with output_folder(root), locked(root / _LOCK, patience=0.2) as mine:
        if mine is False:
            raise ValueError(
                f"another fit is training in {root} ({owner_of(root / _LOCK)}): wait for it, stop it, or give another "
                "trainer.default_root_dir"
            )
        yield


def is_first_process() -> bool:
    """Whether this is the first process of its run, as far as is known before there is a strategy.

    Lightning's own rank is 0 on every node that it starts by itself; the node's number is in the environment then.
    """
    from lightning.pytorch.utilities import rank_zero_only

    numbers = (os.environ.get(name, "0") for name in _RANKS)
    return rank_zero_only.rank == 0 and all(number in ("", "0") for number in numbers)


def is_run_folder(folder: Path) -> bool:
    """Whether the folder is a run's: it holds a part of a run, and is not itself a model or tokenizer."""
    if (folder / _RESULT_CONFIG).is_file():
        return False
    parts = (folder / LAST.parent, folder / CONFIG, folder / PRETRAINED / _RESULT_CONFIG)
    return any(part.exists() for part in parts)


def refuse_run_folder(folder: Path) -> None:
    """ValueError for a run's folder, which says where in it the model or tokenizer is that is wanted."""
    if not is_run_folder(folder):
        return
    result = folder / PRETRAINED
    if (result / _RESULT_CONFIG).is_file():
        raise ValueError(f"{folder} is the folder of a run: give what the run has made, {result}")
    raise ValueError(f"{folder} is the folder of a run that has made nothing yet: let fit go on, then give {result}")
