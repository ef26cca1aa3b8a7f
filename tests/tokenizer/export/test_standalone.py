"""The loader of one file: equal to the package, and strict about what it is given."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from videogpt_tokenizer.export import standalone


@pytest.mark.parametrize(
    ("context", "settings"),
    [("wide", {}), ("local", {}), ("patch", {}), ("wide", {"time_stride": 1}), ("local", {"time_stride": 2})],
)
def test_equal_to_the_package(context, settings, video, tmp_path, make_tokenizer):
    tokenizer = make_tokenizer(context, **settings)
    tokenizer.save_pretrained(tmp_path)
    loaded = standalone.load_tokenizer(tmp_path)
    codes = tokenizer.encode(video)
    assert codes.unique().numel() > 20 and torch.equal(loaded.encode(video), codes)
    torch.testing.assert_close(loaded.decode(codes), tokenizer.decode(codes), rtol=0, atol=1e-5)


def test_autocast_changes_no_code(video, folder):
    loaded = standalone.load_tokenizer(folder)
    with torch.autocast("cpu", torch.bfloat16):
        codes = loaded.encode(video)
    assert torch.equal(codes, loaded.encode(video))


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


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def rewrite(folder: Path, **changes: object) -> None:
    """A changed configuration, and the checksum of the weights that are there."""
    checksum = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps({**config_of(folder), "weights_sha256": checksum, **changes}))


@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen", "half"])
def test_a_tensor_that_does_not_fit_is_named(change, folder):
    path, name = folder / "model.safetensors", "decoder.to_patches.2.bias"
    tensors = load_file(path)
    tensor = tensors.pop(name)
    changed = {
        "missing": {},
        "unknown": {name: tensor, f"{name}.more": tensor.clone()},
        "misshapen": {name: tensor[1:].clone()},
        "half": {name: tensor.half()},
    }
    save_file(tensors | changed[change], path)
    rewrite(folder)
    with pytest.raises(ValueError, match=name):
        standalone.load_tokenizer(folder)


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
    ],
)
def test_settings_that_are_not_known_are_named(part, changes, said, folder):
    rewrite(folder, **{part: config_of(folder)[part] | changes})
    with pytest.raises(ValueError, match=said):
        standalone.load_tokenizer(folder)


def test_altered_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ValueError, match="altered"):
        standalone.load_tokenizer(folder)
    path.unlink()
    with pytest.raises(ValueError, match="not a complete"):
        standalone.load_tokenizer(folder)


def test_settings_that_came_later_may_be_missing(folder, video):
    later = ("stages", "quantizer_dropout")
    older = {key: value for key, value in config_of(folder)["quantizer"].items() if key not in later}
    wanted = standalone.load_tokenizer(folder).encode(video)
    rewrite(folder, quantizer=older)
    assert torch.equal(standalone.load_tokenizer(folder).encode(video), wanted)


@pytest.mark.parametrize("pieces", [[17], [1, 4, 4, 8], [2, 1, 3, 6, 5], [2, 9, 6], [1] * 17])
def test_chunks_equal_the_whole_to_the_bit(pieces, folder, video):
    tokenizer = standalone.load_tokenizer(folder)
    codes, stream = tokenizer.encode(video), tokenizer.stream()
    assert torch.equal(torch.cat([stream.encode(chunk) for chunk in video.split(pieces, dim=2)], dim=1), codes)
    for latents in (1, 2, [1, 3, 1]):
        stream = tokenizer.stream()
        frames = torch.cat([stream.decode(chunk) for chunk in codes.split(latents, dim=1)], dim=2)
        assert torch.equal(frames, tokenizer.decode(codes))


def test_a_stream_keeps_nothing_of_the_callers_memory(folder, video):
    tokenizer = standalone.load_tokenizer(folder)
    stream, buffer = tokenizer.stream(), torch.empty_like(video[:, :, :3])
    parts = [stream.encode(buffer.copy_(video[:, :, start : start + 3])) for start in range(0, 15, 3)]
    parts.append(stream.encode(video[:, :, 15:]))
    assert torch.equal(torch.cat(parts, dim=1), tokenizer.encode(video))


@pytest.mark.parametrize("value", [-1.1, 2.0, float("nan")])
def test_values_out_of_range_are_refused(folder, video, value):
    video = video.clone()
    video[0, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="must lie in"):
        standalone.load_tokenizer(folder).encode(video)


def test_sizes_that_the_weights_do_not_have_take_no_memory(folder):
    """A terabyte's worth of layers would not come back with a ValueError."""
    huge = config_of(folder)["autoencoder"] | {"widths": [16384, 16384], "encoder_depth": 64}
    rewrite(folder, autoencoder=huge)
    with pytest.raises(ValueError, match="asks for more numbers than model.safetensors has bytes"):
        standalone.load_tokenizer(folder)


def test_it_stays_small():
    assert len(Path(standalone.__file__).read_text().splitlines()) <= 250
