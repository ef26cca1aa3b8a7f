"""The joint vocabulary: special ids, then a range of ids for each modality.

    vocabulary = Vocabulary({"text": 512, "video": 1000})
    ids = vocabulary.to_ids("video", codes)
    vocabulary.ids["video"]                              # range(516, 1516): what a row of the video can predict

Ranges follow each other in the order given, so a further modality leaves the ids of those before it alone. Refuses
tokens that lie outside of their modality.
"""

from collections.abc import Mapping

from torch import Tensor

PAD, BOS, BOV, EOT = range(4)
"""Padding, begin of sequence, begin of video, end of text. EOT is next to the text it is predicted with."""


class Vocabulary:
    """Which ids belong to which modality."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Takes the number of tokens of each modality."""
        self.ids: dict[str, range] = {}
        """What a row of the modality can predict: its tokens, and after a text its end, EOT."""
        self._first: dict[str, int] = {}
        self.size = EOT + 1
        """Number of ids in all."""
        for modality, size in sizes.items():
            self._first[modality] = self.size
            self.ids[modality] = range(EOT if modality == "text" else self.size, self.size + size)
            self.size += size

    def to_ids(self, modality: str, tokens: Tensor) -> Tensor:
        """Tokens of a modality (ids of the text tokenizer, codes) -> joint ids, of any shape."""
        return tokens + self._first[modality]

    def check(self, modality: str, tokens: Tensor, name: str, key: str) -> None:
        """Refuse tokens that are not the modality's: ValueError with the first, as `name`, and the size, as `key`."""
        size = self.ids[modality].stop - self._first[modality]
        wrong = tokens[(tokens < 0) | (tokens >= size)]
        if wrong.numel():
            raise ValueError(f"{name} {int(wrong[0])} is not below {key} {size}: it is another tokenizer's")
