"""The loader of one file: equal to the package, and strict about what it is given."""

import json
import struct
from pathlib import Path

import pytest
import torch

from videogpt_tokenizer.export import standalone


@pytest.fixture
def folder(of_context, tmp_path: Path) -> Path:
    of_context("wide").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("context", "settings"),
    [("wide", {}), ("local", {}), ("patch", {}), ("wide", {"time_stride": 1}), ("local", {"time_stride": 2})],
)
def test_equal_to_the_package(context, settings, video, tmp_path, of_context):
    tokenizer = of_context(context, **settings)
    tokenizer.save_pretrained(tmp_path)
    loaded = standalone.load_tokenizer(tmp_path)
    codes = tokenizer.encode(video)
    assert codes.unique().numel() > 20 and torch.equal(loaded.encode(video), codes)
    torch.testing.assert_close(loaded.decode(codes), tokenizer.decode(codes), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("video", "codes"),
    [
        (torch.zeros(1, 3, 4, 32, 32), torch.full((1, 1, 4, 4), 200)),
        (torch.zeros(1, 3, 1, 32, 36), torch.full((1, 1, 4, 4), -1)),
        (torch.zeros(3, 1, 32, 32), torch.zeros(1, 4, 4, dtype=torch.long)),
        (torch.zeros(1, 3, 1, 32, 32, dtype=torch.uint8), torch.zeros(1, 1, 4, 4)),
    ],
)
def test_clips_and_codes_that_do_not_fit_are_refused(video, codes, folder):
    loaded = standalone.load_tokenizer(folder)
    with pytest.raises(ValueError, match="video"):
        loaded.encode(video)
    with pytest.raises(ValueError, match="codes"):
        loaded.decode(codes)


def change(folder: Path, part: str, changes: dict, without: tuple[str, ...] = ()) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[part] = {key: value for key, value in (config[part] | changes).items() if key not in without}
    (folder / "config.json").write_text(json.dumps(config))


def headed(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def one(body: bytes, **entry: object) -> bytes:
    """A file with one tensor; without changes to `entry` it is whole."""
    return headed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**63) + b"{}",
        headed({}, b"left"),
        headed([]),
        one(b"1234", shape=[2], data_offsets=[0, 8]),
        one(b"12345678", data_offsets=[4, 8]),
        one(b"", shape=[-1], data_offsets=[0, -4]),
        one(b"1234", shape=[-1, -1]),
        one(b"1234", shape="1"),
        headed({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
        headed({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, b"1234"),
    ],
)
def test_damaged_safetensors_are_refused(data):
    with pytest.raises(ValueError, match="model.safetensors"):
        standalone.parse_safetensors(data)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("autoencoder", {"dilation": 2}, "dilation"),
        ("autoencoder", {"widths": []}, "widths"),
        ("autoencoder", {"encoder_context": "far"}, "far"),
        ("quantizer", {"kind": "vq"}, "vq"),
        ("quantizer", {"levels": [8, 2]}, "levels"),
        # A terabyte's worth of layers would not come back with a ValueError.
        ("autoencoder", {"widths": [16384] * 2, "encoder_depth": 64}, "more numbers than model.safetensors has bytes"),
    ],
)
def test_settings_that_are_not_known_or_not_of_the_weights_are_named(part, changes, said, folder):
    change(folder, part, changes)
    with pytest.raises(ValueError, match=said):
        standalone.load_tokenizer(folder)


def test_settings_that_came_later_may_be_missing(folder, video):
    wanted = standalone.load_tokenizer(folder).encode(video)
    change(folder, "quantizer", {}, without=("stages", "quantizer_dropout"))
    assert torch.equal(standalone.load_tokenizer(folder).encode(video), wanted)


@pytest.mark.parametrize("value", [-1.1, 2.0, float("nan")])
def test_values_out_of_range_are_refused(folder, video, value):
    video = video.clone()
    video[0, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="must lie in"):
        standalone.load_tokenizer(folder).encode(video)


def test_it_stays_small():
    assert len(Path(standalone.__file__).read_text().splitlines()) <= 250
