"""The model card of a video tokenizer: what it does to a clip, in YAML for the Hub and in words for people.

    write_card(tokenizer, Path("tokenizer"))      # README.md, unless there is one

It says what follows from the configuration and nothing of data or quality, which it cannot know. There is no
`pipeline_tag`, since none of the Hub's tasks is that of a tokenizer.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from videogpt_tokenizer.files.replacing import write_whole

if TYPE_CHECKING:
    from videogpt_tokenizer.video_tokenizer import VideoTokenizer

CARD_NAME = "README.md"
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


def model_card(tokenizer: "VideoTokenizer", name: str, license: str = NO_LICENSE) -> str:  # noqa: A002
    """The card's text.

    Args:
        tokenizer: What it is about.
        name: What to give to `from_pretrained`.
        license: The licence of the weights, in the Hub's words, for example `mit`.
    """
    config, time = tokenizer.config.quantizer, tokenizer.time_stride
    levels = f", levels {', '.join(map(str, config.levels))}" if config.kind == "fsq" else ""
    return CARD.format(
        license=license,
        name=name,
        time=time,
        space=tokenizer.space_stride,
        codes=tokenizer.codebook_size,
        counts=f"`1 + {time}k` frames become `1 + k` latent frames"
        if time > 1
        else "each frame becomes a latent frame",
        size=16 * tokenizer.space_stride,
        frames=tokenizer.num_frames(5),
        quantizer=f"{config.kind}{levels}",
        parameters=sum(parameter.numel() for parameter in tokenizer.parameters()),
        rest=", the licence" if license == NO_LICENSE else "",
    )


def write_card(tokenizer: "VideoTokenizer", folder: Path, name: str | None = None, license: str = NO_LICENSE) -> None:  # noqa: A002
    """Write `README.md` unless there is one, which somebody may have written by hand.

    Args:
        tokenizer: What it is about.
        folder: Where it is saved.
        name: What to give to `from_pretrained`; None for a placeholder.
        license: See `model_card`.
    """
    path = folder / CARD_NAME
    if not path.exists():
        text = model_card(tokenizer, name or "path/of/this/folder", license)
        write_whole(path, text)
