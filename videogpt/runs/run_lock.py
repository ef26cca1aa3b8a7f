"""One fit at a time in the folder of a run.

    with only_fit_in(Path("runs/tiny")):
        ...                                   # the fit

Two that write into one folder would each go on from what the other has left. The lock is the system's, so a fit that
was killed leaves none; where the file system has no locks, nobody is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from videogpt_tokenizer.files.locks import locked, owner_of
from videogpt_tokenizer.files.output import output_folder

_LOCK = ".fit.lock"


@contextmanager
def only_fit_in(root: Path) -> Iterator[None]:
    """Hold the run's folder, which is made if need be, and goes again where nothing has been written into it.

    The first process of a run does this for all of them. Raises ValueError where another fit holds the folder.
    """
    if rank_zero_only.rank:
        yield
        return
    with output_folder(root), locked(root / _LOCK, patience=0.2) as mine:
        if mine is False:
            raise ValueError(
                f"another fit is training in {root} ({owner_of(root / _LOCK)}): wait for it, stop it, or give another "
                "trainer.default_root_dir"
            )
        yield
