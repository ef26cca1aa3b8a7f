"""Settings of a quantizer that cannot be are refused, and the message says what can."""

import pytest

from videogpt_tokenizer.quantizers.config import QuantizerConfig


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "pq"}, "choose"),
        ({"levels": (8, 2)}, "fsq levels .* 3 or more"),
        ({"levels": ()}, "3 or more"),
        ({"levels": (1001, 3)}, "levels is 1001"),
        ({"kind": "lfq", "codebook_size": 1000}, "power of two"),
        ({"kind": "bsq", "codebook_size": 2**19}, "codebook_size is 524288"),
        ({"kind": "rvq", "codebook_size": 1024, "stages": 7}, "take fewer stages"),
        ({"kind": "rfsq", "levels": (8, 8, 8, 8, 8, 8), "stages": 4}, r"above 2\*\*62"),
        ({"kind": "rvq", "stages": 1}, "one stage is vq"),
        ({"kind": "rfsq", "levels": (8, 2)}, "rfsq levels"),
        ({"kind": "rfsq", "quantizer_dropout": 1.5}, "0 to 1"),
    ],
)
def test_a_wrong_configuration_says_what_is_right(wrong, said):
    with pytest.raises(ValueError, match=said):
        QuantizerConfig(**wrong)
