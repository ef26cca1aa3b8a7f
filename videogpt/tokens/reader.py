"""Random access to a folder of token shards.

    rows = TokenShardReader("shards", tokenizer.fingerprint())
    rows[0].codes_THW, rows[0].caption

Refuses folders that are incomplete, altered, or made by another tokenizer than the one expected: codes mean
nothing without the tokenizer that made them.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from videogpt.tokens.writer import CAPTIONS_NAME, CODES_NAME, TokenShardsManifest, codes_dtype
from videogpt_tokenizer.files.json_files import parse_json

# N rows, T latent frames, H/W latent height and width

REMEDY = "tokenize the clips again"


class TokenRow(NamedTuple):
    """One clip as a model takes it."""

    codes_THW: Tensor  # int64
    caption: str


class TokenShardReader(Dataset[TokenRow]):
    """Random access to a folder of token shards through a memory map; may be sent to loader processes."""

    def __init__(self, folder: str | Path, tokenizer_fingerprint: str | None = None) -> None:
        """Open and check a folder.

        Raises:
            ValueError: it is incomplete, altered, or made by another tokenizer than `tokenizer_fingerprint`.
        """
        self.folder = Path(folder)
        self.manifest = TokenShardsManifest.read(self.folder)
        if tokenizer_fingerprint not in (None, self.manifest.tokenizer_fingerprint):
            raise ValueError(
                f"{folder} was made by tokenizer {self.manifest.tokenizer_fingerprint}, "
                f"not by {tokenizer_fingerprint}: its codes mean something else to it; {REMEDY}"
            )
        lines = _read_lines(self.folder / CAPTIONS_NAME, self.manifest.num_clips)
        self.captions: list[str] = [line["caption"] for line in lines]
        """Caption of every row."""
        self.clips: list[str] = [line["clip"] for line in lines]
        """Name of the clip that every row was cut from."""
        self._codes_NTHW = _map_codes(self.folder / CODES_NAME, self.manifest)

    def __len__(self) -> int:
        return self.manifest.num_clips

    def __getitem__(self, row: int) -> TokenRow:
        codes_THW = torch.from_numpy(self._codes_NTHW[row].astype(np.int64))
        if codes_THW.max() >= self.manifest.codebook_size:
            raise ValueError(f"{self.folder / CODES_NAME} was altered, row {row} is impossible: {REMEDY}")
        return TokenRow(codes_THW, self.captions[row])

    def __reduce__(self) -> tuple[type["TokenShardReader"], tuple[Path, str]]:
        # Pickled as it stands, a memory map turns into a copy of every code.
        return TokenShardReader, (self.folder, self.manifest.tokenizer_fingerprint)


def _read_lines(path: Path, count: int) -> list[dict[str, str]]:
    try:
        lines = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {REMEDY}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {REMEDY}") from error
    if len(lines) != count:
        raise ValueError(f"{path} has {len(lines)} lines for {count} clips: {REMEDY}")
    return lines


def _map_codes(path: Path, manifest: TokenShardsManifest) -> np.ndarray:
    try:
        codes_NTHW = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: {REMEDY}") from error
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}): {REMEDY}") from error
    found = f"{codes_NTHW.dtype} {codes_NTHW.shape}"
    expected = f"{codes_dtype(manifest.codebook_size)} {(manifest.num_clips, *manifest.grid)}"
    if found != expected:
        raise ValueError(f"{path} holds {found}, its manifest says {expected}: {REMEDY}")
    return codes_NTHW
