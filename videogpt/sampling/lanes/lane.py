"""What a lane is: it reads what is given, then draws tokens, one or more of every sample at each step.

    lane.start()
    while lane.drawn < len(lane.prompt.places):
        lane.step()

An exact lane draws, for a seed, the tokens of the eager one: its contract, which a test holds it to. `passes` counts
how often the network was run.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from videogpt.layouts.task import Prompt


class Lane(Protocol):
    """A batch of samples on its way."""

    name: str
    """As `--lane` takes it."""
    exact: bool
    """Whether it draws, for a seed, the codes of the eager lane, in float32."""
    prompt: Prompt
    """What is given and what is to be drawn."""

    passes: int
    """Forward passes of the network so far, that over what is given among them."""

    @property
    def drawn(self) -> int:
        """Tokens that every sample has, in the order of drawing."""
        ...

    def start(self) -> None:
        """Read what is given."""
        ...

    def step(self) -> None:
        """Draw at least one more token of every sample that is not complete."""
        ...

    def tokens(self, numbers: Sequence[int]) -> Tensor:
        """Tokens (B, len(numbers)) of every sample by their number in the order of drawing, each below `drawn`.

        Tokens count from the first id that the modality can predict: codes of the video, but EOT is 0 of a text.
        """
        ...
