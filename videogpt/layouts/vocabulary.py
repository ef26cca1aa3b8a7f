"""The joint vocabulary: special ids, then a range of ids for each modality.

    vocabulary = Vocabulary({"text": 512, "video": 1000})
    ids = vocabulary.to_ids("video", codes)
    vocabulary.ids["video"]                              # range(516, 1516): what a row of the video can predict

    vocabulary = Vocabulary({"text": 512, "video": 1000}, read_only={"given": 1000})   # ids that nothing predicts

Ranges follow each other in the order given, so a further modality leaves the ids of those before it alone. Refuses
tokens that lie outside of their modality.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

PAD, BOS, BOV, EOT = range(4)
"""Padding, begin of sequence, begin of video, end of text. EOT is next to the text it is predicted with."""


class Vocabulary:
    """Which ids belong to which modality."""

    def __init__(self, sizes: Mapping[str, int], read_only: Mapping[str, int] = MappingProxyType({})) -> None:
        """Takes the number of tokens of each modality, then of those that are read and never predicted."""
        self.ids: dict[str, range] = {}
        """What a row of the modality can predict: its tokens, and after a text its end, EOT."""
        self._first: dict[str, int] = {}
        self._sizes = {**sizes, **read_only}
        self.size = EOT + 1
        """Number of ids in all."""
        for modality, size in self._sizes.items():
            self._first[modality] = self.size
            if modality in sizes:
                self.ids[modality] = range(EOT if modality == "text" else self.size, self.size + size)
            self.size += size

    def to_ids(self, modality: str, tokens: Tensor) -> Tensor:
        """Tokens of a modality (ids of the text tokenizer, codes) -> joint ids, of any shape."""
        return tokens + self._first[modality]

    def check(self, modality: str, tokens: Tensor, name: str, key: str) -> None:
        """Refuse tokens that are not the modality's: ValueError with the first, as `name`, and the size, as `key`."""
        size = self._sizes[modality]
        wrong = tokens[(tokens < 0) | (tokens >= size)]
        if wrong.numel():
            raise ValueError(f"{name} {int(wrong[0])} is not below {key} {size}: it is another tokenizer's")
