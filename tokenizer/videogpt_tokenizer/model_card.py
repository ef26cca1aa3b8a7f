"""The model card of a video tokenizer: what it does to a clip, in YAML for the Hub and in words for people.

    card = tokenizer_card(name="owner/name", license="mit", time_stride=4, space_stride=8, ...)
    write_card(Path("tokenizer"), card)           # README.md, unless there is one

It says what follows from the configuration and nothing of data or quality, which it cannot know. There is no
`pipeline_tag`, since none of the Hub's tasks is that of a tokenizer.
"""

from pathlib import Path

from videogpt_tokenizer.files.hub import CARD_NAME
from videogpt_tokenizer.files.replacing import write_whole

NO_LICENSE = "unknown"
"""The Hub's word for a licence that is not given."""

CARD = """\
---
license: {license}
library_name: videogpt-lm
tags:
- video
- video-tokenizer
- vector-quantization
- pytorch
---

# Video tokenizer, {time} x {space} x {space}, {codes:,} codes

```python
from videogpt_tokenizer import Clip, VideoTokenizer

tokenizer = VideoTokenizer.from_pretrained("{name}")
codes_BTHW = tokenizer.encode(Clip.read("clip.mp4", size={size}, num_frames={frames}).video_CTHW()[None])
video_BCTHW = tokenizer.decode(codes_BTHW)
```

| | |
|---|---|
| compression | {time} x {space} x {space}: {counts}, {space} x {space} pixels one code |
| vocabulary | {codes:,} codes ({quantizer}) |
| size | {parameters:,} parameters |
| values | RGB in [-1, 1], float32 |

Causal in time, so that a clip can be coded in pieces with the same codes: `tokenizer.stream()`.

Not said here, because only those who trained it know: data, quality on clips that it has not seen, limits{rest}.
"""


def tokenizer_card(
    *,
    name: str,
    license: str,  # noqa: A002 - the Hub's name for it
    time_stride: int,
    space_stride: int,
    codebook_size: int,
    quantizer: str,
    parameters: int,
) -> str:
    """The card's text.

    Args:
        name: What to give to `from_pretrained`.
        license: The licence of the weights, in the Hub's words, for example `mit`.
        time_stride: Frames per latent frame, the first one excepted.
        space_stride: Pixels of height and width per code.
        codebook_size: Number of different codes.
        quantizer: What makes them, in words.
        parameters: Number of weights.
    """
    causal = f"`1 + {time_stride}k` frames become `1 + k` latent frames"
    return CARD.format(
        license=license,
        name=name,
        time=time_stride,
        space=space_stride,
        codes=codebook_size,
        counts=causal if time_stride > 1 else "each frame becomes a latent frame",
        size=16 * space_stride,
        frames=1 + 4 * time_stride,
        quantizer=quantizer,
        parameters=parameters,
        rest=", the licence" if license == NO_LICENSE else "",
    )


def write_card(folder: Path, card: str) -> None:
    """Write `README.md` unless there is one, which somebody may have written by hand."""
    if not (folder / CARD_NAME).exists():
        write_whole(folder / CARD_NAME, card)
