"""Video tokenizer: causal, exact in chunks and batches, the same after saving, strict about what it is fed.

So is the exported loader of one file, which is held to the same here.
"""

import hashlib
import io
import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from videogpt_tokenizer.export import standalone
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig, from_patches, to_patches
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="module", params=["wide", "local", "patch"])
def tokenizer(request, of_context) -> VideoTokenizer:
    return of_context(request.param)


@pytest.fixture(scope="module", params=["wide", "local", "patch", "one file"])
def either(request, of_context, tmp_path_factory) -> VideoTokenizer | standalone.StandaloneTokenizer:
    """One of the package, or one that the loader of one file has loaded."""
    if request.param != "one file":
        return of_context(request.param)
    folder = tmp_path_factory.mktemp("saved")
    of_context("wide").save_pretrained(folder)
    return standalone.load_tokenizer(folder)


@pytest.fixture
def saved(tokenizer, tmp_path) -> Path:
    tokenizer.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_patches_are_undone_exactly(video):
    config = AutoencoderConfig()
    for first, chunk in ((True, video), (False, video[:, :, 1:])):
        assert torch.equal(from_patches(to_patches(chunk, config, first=first), config, first=first), chunk)


def test_codes_never_depend_on_later_frames(tokenizer, video):
    changed = torch.cat([video[:, :, :9], -video[:, :, 9:]], dim=2)
    before, after = tokenizer.encode(video), tokenizer.encode(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_only_a_wide_context_reaches_back(of_context, video):
    changed = torch.cat([-video[:, :, :5], video[:, :, 5:]], dim=2)  # two latent frames
    for context, same in (("wide", False), ("local", True), ("patch", True)):
        tokenizer = of_context(context)
        later, changed_later = (tokenizer.encode(source)[:, 2:] for source in (video, changed))
        assert torch.equal(later, changed_later) == same


@pytest.mark.parametrize(("context", "reach"), [("patch", 0), ("local", 1)])
def test_a_context_sees_no_further_than_it_says(of_context, context, reach):
    tokenizer = of_context(context)
    black = torch.full((1, 3, 5, 64, 64), -1.0)
    spot = black.clone()
    spot[..., 32:40, 32:40] = 1.0  # the square of code (4, 4)
    rows, columns = (tokenizer.encode(black) != tokenizer.encode(spot)).any(dim=(0, 1)).nonzero(as_tuple=True)
    assert len(rows) and (rows - 4).abs().max() == reach == (columns - 4).abs().max()


def test_a_still_picture_has_the_same_codes_in_every_latent_frame(tokenizer, video):
    still = video[:, :, :1].expand(-1, -1, 17, -1, -1)
    codes = tokenizer.encode(still)
    assert torch.equal(codes, codes[:, :1].expand_as(codes))


def test_codes_do_not_depend_on_places_far_away(tokenizer):
    video = torch.rand(1, 3, 5, 32, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    changed = torch.cat([-video[..., :8], video[..., 8:]], dim=-1)
    before, after = tokenizer.encode(video), tokenizer.encode(changed)
    assert torch.equal(before[..., 6:], after[..., 6:])
    assert not torch.equal(before[..., :6], after[..., :6])


@st.composite
def chunk_plans(draw, total: int) -> list[int]:
    """Chunk sizes that add up to `total`, empty chunks and chunks of one among them."""
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=8)))
    return [end - begin for begin, end in itertools.pairwise([0, *cuts, total])]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(frames=chunk_plans(17), latents=chunk_plans(5))
@example(frames=[1] * 17, latents=[1] * 5)
@example(frames=[0, 1, 0, 3, 0, 13, 0], latents=[0, 1, 0, 4, 0])
def test_every_chunk_plan_gives_the_same_codes_and_pictures(either, video, frames, latents):
    codes, stream = either.encode(video), either.stream()
    assert torch.equal(torch.cat([stream.encode(chunk) for chunk in video.split(frames, dim=2)], dim=1), codes)
    if not isinstance(either, VideoTokenizer):  # the other takes no chunk without codes
        latents = [count for count in latents if count]
    pictures = torch.cat([stream.decode(chunk) for chunk in codes.split(latents, dim=1)], dim=2)
    assert torch.equal(pictures, either.decode(codes))


@pytest.mark.parametrize("side", [8, 64, 72])
def test_chunks_of_the_shipped_tokenizer_equal_the_whole_to_the_bit(side):
    """At widths where libraries add up in another order as soon as there are more rows; latents, too."""
    natural, seen = VideoTokenizer.from_pretrained("natural"), []
    natural.quantizer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    video = torch.rand(1, 3, 17, side, side) * 2 - 1
    codes = natural.encode(video)
    whole, seen[:] = torch.cat(seen, dim=1), []
    for plan in ([1, 4, 4, 4, 4], [2, 9, 6], [1] * 17):
        stream = natural.stream()
        assert torch.equal(torch.cat([stream.encode(chunk) for chunk in video.split(plan, dim=2)], dim=1), codes)
        assert torch.equal(torch.cat(seen, dim=1), whole)
        seen.clear()
    for plan in ([1] * 5, [2, 3]):
        stream = natural.stream()
        pictures = torch.cat([stream.decode(chunk) for chunk in codes.split(plan, dim=1)], dim=2)
        assert torch.equal(pictures, natural.decode(codes))


def test_a_stream_keeps_nothing_of_the_callers_memory(either, video):
    """Cameras fill the same buffer again and again."""
    stream, buffer = either.stream(), torch.empty_like(video[:, :, :3])
    parts = [stream.encode(buffer.copy_(video[:, :, start : start + 3])) for start in range(0, 15, 3)]
    parts.append(stream.encode(video[:, :, 15:]))
    assert torch.equal(torch.cat(parts, dim=1), either.encode(video))


def test_autocast_changes_nothing(either, video):
    codes = either.encode(video)
    pictures = either.decode(codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(either.encode(video), codes)
        assert torch.equal(either.decode(codes), pictures)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_videos_of_every_float_type_are_taken(tokenizer, video, dtype):
    assert torch.equal(tokenizer.encode(video.to(dtype)), tokenizer.encode(video.to(dtype).float()))


def test_a_saved_folder_is_as_readable_as_other_files(saved):
    (saved / "ordinary").touch()
    modes = {path.name: path.stat().st_mode for path in saved.iterdir()}
    assert set(modes.values()) == {modes["ordinary"]}, modes


@settings(max_examples=20, deadline=None, derandomize=True)
@given(frames=chunk_plans(17), latents=chunk_plans(5))
def test_a_stream_takes_and_gives_what_is_complete(tokenizer, frames, latents):
    stream, taken, given_back = tokenizer.stream(), 0, 0
    for count in frames:
        taken += count
        given_back += stream.encode(torch.zeros(1, 3, count, 8, 8)).shape[1]
        assert given_back == (taken + 3) // 4
    taken = given_back = 0
    for count in latents:
        taken += count
        given_back += stream.decode(torch.zeros(1, count, 1, 1, dtype=torch.long)).shape[2]
        assert given_back == (tokenizer.num_frames(taken) if taken else 0)


def test_a_batch_equals_its_clips_one_by_one(tokenizer, video):
    codes = tokenizer.encode(video)
    assert torch.equal(codes, torch.cat([tokenizer.encode(clip[None]) for clip in video]))


def test_forward_agrees_with_encode_and_decode(tokenizer, video):
    reconstruction = tokenizer(video)
    assert torch.equal(reconstruction.codes_BTHW, tokenizer.encode(video))
    decoded = tokenizer.decode(reconstruction.codes_BTHW)
    torch.testing.assert_close(reconstruction.video_BCTHW.clamp(-1, 1), decoded, atol=1e-5, rtol=0)


def test_a_saved_tokenizer_is_the_same_one_until_a_weight_is_another(tokenizer, video, saved):
    loaded = VideoTokenizer.from_pretrained(saved)
    assert loaded.config == tokenizer.config and loaded.fingerprint() == tokenizer.fingerprint()
    assert torch.equal(loaded.encode(video), tokenizer.encode(video))
    with torch.no_grad():
        next(loaded.parameters()).view(-1)[0] += 1e-6
    assert loaded.fingerprint() != tokenizer.fingerprint()


@pytest.mark.parametrize("damage", ["truncate", "alter", "no weights", "no config", "not json", "other format"])
def test_a_damaged_folder_is_refused_by_name(saved, damage):
    weights, config = saved / "model.safetensors", saved / "config.json"
    content = weights.read_bytes()
    spoil, said = {
        "truncate": (lambda: weights.write_bytes(content[: len(content) // 2]), "altered"),
        "alter": (lambda: weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1])), "altered"),
        "no weights": (weights.unlink, "not a complete"),
        "no config": (config.unlink, "not a complete"),
        "not json": (lambda: config.write_text("{"), "not a complete"),
        "other format": (lambda: config.write_text('{"format": "videogpt-model"}'), "describes no"),
    }[damage]
    spoil()
    with pytest.raises(ValueError, match=r"config\.json|model\.safetensors"):
        VideoTokenizer.from_pretrained(saved)
    with pytest.raises(ValueError, match=f"{saved}.* {said}"):
        standalone.load_tokenizer(saved)


def change_config(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"speed": 3}, r"config\.json: speed is not known"),
        ({"quantizer": {"kind": "fsq", "speed": 3}}, r"quantizer\.speed is not known"),
        ({"quantizer": [8, 5]}, "quantizer is no object"),
        ({"autoencoder": {"widths": "wide"}}, "autoencoder is wrong"),
        ({"autoencoder": {"widths": [16]}}, r"model\.safetensors does not fit"),
        ({"autoencoder": {"widths": [10**9]}}, "widths is 1000000000; it must be 16384 or less"),
        ({"autoencoder": {"widths": [16] * 9}}, "widths .* must be multiples of 16, one for each level"),
        ({"autoencoder": {"widths": 16}}, "autoencoder is wrong"),
        ({"autoencoder": {"encoder_depth": 10**9}}, "encoder_depth is 1000000000; it must be 64 or less"),
        ({"autoencoder": {"decoder_depth": 0}}, "decoder_depth is 0; it must be 1 or more"),
        ({"autoencoder": {"time_stride": 10**9}}, "time_stride is 1000000000"),
        ({"autoencoder": {"patch_size": 4.0}}, r"patch_size is 4\.0; it must be a whole number"),
        ({"autoencoder": {"time_stride": True}}, "time_stride is True; it must be a whole number"),
        ({"autoencoder": {"time_stride": "4"}}, "time_stride is '4'; it must be a whole number"),
        ({"quantizer": {"levels": [10**9, 3]}}, "levels is 1000000000; it must be 1000 or less"),
        ({"quantizer": {"levels": [1000, 1000, 1000]}}, "product of levels is 1000000000"),
        ({"quantizer": {"levels": [8, None]}}, "levels is None; it must be a whole number"),
        ({"quantizer": {"kind": "vq", "codebook_size": 10**12}}, "codebook_size is 1000000000000"),
        ({"quantizer": {"kind": "vq", "codebook_dim": 10**9}}, "codebook_dim is 1000000000"),
        ({"quantizer": {"kind": "lfq", "codebook_size": 0}}, "codebook_size is 0; it must be 2 or more"),
        ({"quantizer": {"kind": ["fsq"]}}, "quantizer kind .* is not known"),
        ({"quantizer": {"commitment": "0"}}, "quantizer is wrong"),
    ],
)
def test_a_changed_configuration_is_refused_with_its_key(saved, changes, said):
    change_config(saved, changes)
    with pytest.raises(ValueError, match=said):
        VideoTokenizer.from_pretrained(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"autoencoder": {"widths": [16384] * 8, "decoder_depth": 64}},
        {"quantizer": {"kind": "vq", "codebook_size": 2**24, "codebook_dim": 4096}},
    ],
)
def test_sizes_that_the_weights_do_not_have_take_no_memory(saved, changes):
    resource = pytest.importorskip("resource", reason="asks for the most memory that was used, as only Unix can")
    change_config(saved, changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit its configuration: .* is "):
        VideoTokenizer.from_pretrained(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB, of hundreds of GiB


def rewrite(folder: Path, data: bytes) -> None:
    """Other weights, with a checksum that fits."""
    (folder / "model.safetensors").write_bytes(data)
    change_config(folder, {"weights_sha256": hashlib.sha256(data).hexdigest()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "decoder.to_patches.2.bias is missing"),
        ("unknown", "decoder.to_patches.2.bias.more is not known"),
        ("misshapen", r"decoder.to_patches.2.bias is float32 \(191,\) where float32 \(192,\) is wanted"),
        ("half", None),  # which the package takes
        ("whole numbers", r"decoder.to_patches.2.bias is int32 \(192,\) where float32 \(192,\) is wanted"),
        ("another", r"decoder.to_patches.2.bias is missing; other is not known"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(saved, change, said):
    name = "decoder.to_patches.2.bias"
    tensors = load_file(saved / "model.safetensors")
    tensor = tensors.pop(name)
    tensors |= {
        "missing": {},
        "unknown": {name: tensor, f"{name}.more": tensor.clone()},
        "misshapen": {name: tensor[1:].clone()},
        "half": {name: tensor.half()},
        "whole numbers": {name: tensor.int()},
        "another": {"other": tensor},
    }[change]
    rewrite(saved, save(tensors))
    if said:
        with pytest.raises(ValueError, match=said) as refusal:
            VideoTokenizer.from_pretrained(saved)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=name):
        standalone.load_tokenizer(saved)


def test_a_pickle_in_the_place_of_the_weights_is_refused_and_never_run(saved, tmp_path, pickled_call):
    mark, stored = tmp_path / "was-run", io.BytesIO()
    touch = pickled_call(Path.touch, mark)
    torch.save({"weights": touch}, stored)
    for data in (pickle.dumps(touch), stored.getvalue(), b"", b"\xff" * 20):
        rewrite(saved, data)
        with pytest.raises(ValueError, match=r"model\.safetensors is not safetensors, the only form"):
            VideoTokenizer.from_pretrained(saved)
    assert not mark.exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}", "\xff", "[1]", "null"])
def test_json_that_is_no_configuration_is_refused_by_its_path(saved, text):
    (saved / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"config\.json (is not valid JSON|describes)"):
        VideoTokenizer.from_pretrained(saved)


def test_a_full_disk_leaves_no_weights(tokenizer, full_disk, tmp_path):
    with pytest.raises(OSError, match="cannot be written .*File too large.*free some space"), full_disk():
        tokenizer.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "shape, nearest",
    [((16, 32, 24), "13 and 17"), ((17, 30, 24), "24 and 32"), ((17, 32, 20), "16 and 24"), ((0, 32, 24), "1 and 5")],
)
def test_sizes_that_do_not_divide_name_the_nearest_that_do(tokenizer, shape, nearest):
    with pytest.raises(ValueError, match=f"nearest .* are {nearest}"):
        tokenizer.encode(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize(
    "way, given, said",
    [
        ("encode", torch.zeros(1, 3, 17, 32, 32, dtype=torch.uint8), "floating point"),
        ("encode", torch.zeros(1, 17, 3, 32, 32), "batch, 3"),
        ("encode", torch.zeros(0, 3, 5, 8, 8), "holds none"),
        ("encode", torch.zeros(1, 3, 5, 8, 8).numpy(), "a video must be a torch tensor, not ndarray"),
        ("encode", torch.full((1, 3, 1, 8, 8), 255.0), "span 255 to 255, but the tokenizer takes -1 to 1"),
        ("encode", torch.full((1, 3, 1, 8, 8), -1.01), "span -1.01 to -1.01"),
        ("encode", torch.full((1, 3, 1, 8, 8), float("nan")), "span nan"),
        ("decode", torch.zeros(1, 5, 4, 3), "whole numbers such as `encode` returns, not torch.float32"),
        ("decode", torch.zeros(1, 5, 4, 3).bool(), "whole numbers"),
        ("decode", torch.zeros(5, 4, 3).long(), r"must be \(batch, latent frames, height, width\), not \(5, 4, 3\)"),
        ("decode", torch.zeros(1, 5, 0, 3).long(), "must be"),
        ("decode", torch.zeros(0, 2, 1, 1).long(), r"not \(0, 2, 1, 1\)"),
        ("decode", torch.full((1, 1, 1, 1), 200), "span 200 to 200, but this tokenizer knows 0 to 199"),
        ("decode", torch.full((1, 1, 1, 1), -1), "span -1"),
    ],
)
def test_wrong_kinds_of_video_and_of_codes_are_named(tokenizer, way, given, said):
    for one in (tokenizer, tokenizer.stream()):
        with pytest.raises(ValueError, match=said):
            getattr(one, way)(given)


def test_rounding_beyond_the_range_is_forgiven(tokenizer):
    white = torch.ones(1, 3, 1, 8, 8)
    assert torch.equal(tokenizer.encode(1.00001 * white), tokenizer.encode(white))


def test_no_codes_are_no_video(tokenizer):
    with pytest.raises(ValueError, match="hold no latent frame"):
        tokenizer.decode(torch.zeros(1, 0, 4, 3, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_codes_of_any_integer_type_decode(tokenizer, dtype):
    codes = torch.arange(12).view(1, 1, 4, 3)
    assert torch.equal(tokenizer.decode(codes.to(dtype)), tokenizer.decode(codes))


def test_a_stream_that_changes_size_is_refused(tokenizer, video):
    stream = tokenizer.stream()
    stream.decode(stream.encode(video))
    with pytest.raises(ValueError, match=r"began with .* = \(2, 32, 24\) goes on with the same, not \(2, 24, 24\)"):
        stream.encode(video[:, :, :, :24])
    with pytest.raises(ValueError, match=r"\(2, 4, 3\) goes on with the same, not \(1, 4, 3\)"):
        stream.decode(torch.zeros(1, 1, 4, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="nearest"):
        stream.encode(video[:, :, :, :30])


def test_memory_of_a_stream_does_not_grow(tokenizer):
    def numbers_held(stream) -> int:
        held = itertools.chain(stream._encoder_past or (), stream._decoder_past or (), [stream._waiting])
        return sum(tensor.untyped_storage().nbytes() for tensor in held if tensor is not None)

    stream, chunk, sizes = tokenizer.stream(), torch.zeros(1, 3, 4, 32, 32), []
    for _ in range(6):
        stream.decode(stream.encode(chunk))
        sizes.append(numbers_held(stream))
    assert len(set(sizes[1:])) == 1
    stream.decode(stream.encode(torch.zeros(1, 3, 40, 32, 32)))
    assert numbers_held(stream) == sizes[-1], "a long chunk leaves more behind than a short one"
