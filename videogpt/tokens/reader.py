"""Random access to a folder of token shards.

    rows = TokenShardReader("shards", tokenizer.fingerprint())
    rows[0].codes_THW, rows[0].caption

Codes mean nothing without the tokenizer that made them: those of another than the one expected are refused.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from videogpt.tokens.shards import TokenShardsManifest, checked_codes, map_codes, read_lines

# N rows, T latent frames, H/W latent height and width


class TokenRow(NamedTuple):
    """One row: the codes of a clip, or of a window of one, and its caption."""

    codes_THW: Tensor  # int64
    caption: str
    draw: np.random.Generator | None = None
    """In training, where to draw from what is drawn for this row: the same numbers in a run that was resumed."""


class TokenShardReader(Dataset[TokenRow]):
    """Random access to a folder of token shards through a memory map; may be sent to loader processes."""

    def __init__(self, folder: str | Path, tokenizer_fingerprint: str | None = None) -> None:
        """ValueError: it is incomplete or altered, or made by another tokenizer than `tokenizer_fingerprint`."""
        self.folder = Path(folder)
        self.manifest = TokenShardsManifest.read(self.folder, tokenizer_fingerprint)
        lines = read_lines(self.folder, self.manifest)
        self.captions: list[str] = [line["caption"] for line in lines]
        """Caption of every row."""
        self.clips: list[str] = [line["clip"] for line in lines]
        """Name of the clip that every row was cut from."""
        self._codes_NTHW = map_codes(self.folder, self.manifest, (self.manifest.num_clips, *self.manifest.grid))

    def __len__(self) -> int:
        return self.manifest.num_clips

    def __getitem__(self, row: int) -> TokenRow:
        codes_THW = checked_codes(self._codes_NTHW[row], self.folder, self.manifest, f"row {row}")
        return TokenRow(codes_THW, self.captions[row])

    def __reduce__(self) -> tuple[type["TokenShardReader"], tuple[Path, str]]:
        # Pickled as it stands, a memory map turns into a copy of every code.
        return TokenShardReader, (self.folder, self.manifest.tokenizer_fingerprint)
