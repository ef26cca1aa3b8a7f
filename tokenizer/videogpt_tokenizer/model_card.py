"""The model card of a video tokenizer: what it does to a clip, in YAML for the Hub and in words for people.

    card = tokenizer_card(tokenizer, name="owner/name", license="mit", quantizer="fsq, levels 8, 5, 5")

It says what follows from the configuration and nothing of data or quality, which it cannot know. There is no
`pipeline_tag`, since none of the Hub's tasks is that of a tokenizer.
"""

from videogpt_tokenizer.grid import Tokenizer

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


def tokenizer_card(tokenizer: Tokenizer, *, name: str, license: str, quantizer: str) -> str:  # noqa: A002
    """The card's text, under a name that `from_pretrained` takes; `quantizer` says in words what makes the codes.

    `license` is that of the weights, in the Hub's words, for example `mit`.
    """
    time, space = tokenizer.time_stride, tokenizer.space_stride
    causal = f"`1 + {time}k` frames become `1 + k` latent frames"
    return CARD.format(
        license=license,
        name=name,
        time=time,
        space=space,
        codes=tokenizer.codebook_size,
        counts=causal if time > 1 else "each frame becomes a latent frame",
        size=16 * space,
        frames=1 + 4 * time,
        quantizer=quantizer,
        parameters=sum(parameter.numel() for parameter in tokenizer.parameters()),
        rest=", the licence" if license == NO_LICENSE else "",
    )
