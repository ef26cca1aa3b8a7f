"""Pictures and animations of others: turned, tiled, of odd depth, cut short, with damaged metadata."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from videogpt_tokenizer.clips.clip import Clip


@pytest.fixture(scope="module")
def picture(smooth_clip: Clip) -> Image.Image:
    """48 x 64, coloured, and another when turned or mirrored in any way."""
    return Image.fromarray(smooth_clip.frames_THWC[0].numpy())


def read_bytes(path: Path, content: bytes, **request: int) -> np.ndarray:
    path.write_bytes(content)
    return Clip.read(path, **request).frames_THWC[0].numpy()


def saved(image: Image.Image, name: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **settings)
    return file.getvalue()


def furthest(a_HWC: np.ndarray, b: np.ndarray | Image.Image) -> int:
    return int(np.abs(a_HWC.astype(int) - np.asarray(b)).max())


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_exif(image: Image.Image, kind: str, exif: bytes) -> bytes:
    if kind != "PNG":  # Pillow would take a prefix away
        return saved(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    data = saved(image, kind)
    return data[:33] + chunk(b"eXIf", exif) + data[33:]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientations_are_obeyed_as_pillow_does(picture: Image.Image, tmp_path: Path, kind: str, prefix) -> None:
    upright = read_bytes(tmp_path / "upright", saved(picture, kind, **({"lossless": True} if kind == "WEBP" else {})))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        content = prefix + exif.tobytes().removeprefix(b"Exif\0\0")
        if kind == "JPEG" and not prefix:  # there the prefix says what the segment is
            content = b"Exif\0\0" + content
        marked = Image.fromarray(upright)
        marked.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(marked))
        turned = read_bytes(tmp_path / "turned", with_exif(picture, kind, content))
        assert turned.shape == expected.shape and furthest(turned, expected) == 0, orientation
        assert Clip.read(tmp_path / "turned", size=(16, 24)).frames_THWC.shape == (1, 16, 24, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", b"\xff" * 40]
)
def test_damaged_metadata_do_not_matter(picture: Image.Image, tmp_path: Path, kind: str, exif: bytes) -> None:
    sound = read_bytes(tmp_path / "sound", saved(picture, kind))
    data = (
        with_exif(picture, kind, b"Exif\0\0" + exif) if kind == "PNG" else saved(picture, kind, exif=b"Exif\0\0" + exif)
    )
    assert furthest(read_bytes(tmp_path / "odd", data), sound) == 0


def test_long_texts_beside_a_png_do_not_matter(picture: Image.Image, tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    for settings in ({"pnginfo": texts}, {"icc_profile": bytes(3_000_000)}, {"interlace": 1}):
        assert furthest(read_bytes(tmp_path / "long.png", saved(picture, "PNG", **settings)), picture) == 0


def tiff(tags: dict[int, tuple[int, int | list[int]]], parts: list[bytes], places: int) -> bytes:
    """A little-endian TIFF of those tags, its parts of the picture behind; `places` is the tag that tells where."""
    tags = {**tags, places: (4, [0] * len(parts)), places + (6 if places == 273 else 1): (4, [len(p) for p in parts])}
    begin = 8 + 2 + 12 * len(tags) + 4
    lists = {tag: value for tag, (_, value) in tags.items() if isinstance(value, list) and len(value) > 1}
    room = sum(4 * len(value) for value in lists.values())
    offsets = [begin + room + sum(map(len, parts[:i])) for i in range(len(parts))]
    tags[places] = (4, offsets)
    entries, tail = b"", b""
    for tag, (kind, value) in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        if len(values) > 1:
            entries += struct.pack("<HHII", tag, 4, len(values), begin + len(tail))
            tail += struct.pack(f"<{len(values)}I", *values)
        else:
            entries += struct.pack("<HHII", tag, kind, 1, values[0])
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail + b"".join(parts)


def described(image: Image.Image, *, compression: int = 1, bits: int = 8, **more: int) -> dict:
    """The tags that each TIFF has: of a grey picture."""
    tags = {256: image.width, 257: image.height, 258: bits, 259: compression, 262: 1, 277: 1}
    return {tag: (4 if tag < 258 else 3, value) for tag, value in {**tags, **more}.items()}


@pytest.mark.parametrize("compression, pack", [(1, bytes), (8, zlib.compress)])
def test_a_tiled_tiff_is_read(picture: Image.Image, tmp_path: Path, compression: int, pack) -> None:
    grey = picture.convert("L")
    tiles = [grey.crop((x, y, x + 32, y + 32)) for y in (0, 32) for x in (0, 32)]
    tags = {**described(grey, compression=compression), 322: (3, 32), 323: (3, 32)}
    data = tiff(tags, [pack(tile.tobytes()) for tile in tiles], places=324)
    assert furthest(read_bytes(tmp_path / "tiled.tif", data), grey.convert("RGB")) == 0


def test_odd_tiffs_are_read_or_refused(picture: Image.Image, tmp_path: Path, cases: Path) -> None:
    assert Clip.read(cases / "tiled.tif").frames_THWC.float().std() > 10
    jpeg = read_bytes(tmp_path / "jpeg.tif", saved(picture, "TIFF", compression="jpeg"))
    assert np.abs(jpeg.astype(int) - np.asarray(picture)).mean() < 4
    for settings in ({"compression": "tiff_lzw"}, {"save_all": True, "append_images": [picture.rotate(180)]}):
        assert furthest(read_bytes(tmp_path / "odd.tif", saved(picture, "TIFF", **settings)), picture) == 0
    for mode in "FI":
        with pytest.raises(ValueError, match=r"odd\.tif: holds numbers of 32 bits"):
            read_bytes(tmp_path / "odd.tif", saved(picture.convert(mode), "TIFF"))


@pytest.mark.parametrize("kind, white_is_zero", [("PNG", 0), ("TIFF", 0), ("TIFF", 1)])
def test_grey_of_16_bits_is_scaled(picture: Image.Image, tmp_path: Path, kind: str, white_is_zero: int) -> None:
    grey = np.asarray(picture.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    settings = {"tiffinfo": {262: 0}} if white_is_zero else {}
    expected = 255 - grey if white_is_zero else grey
    assert furthest(read_bytes(tmp_path / "deep", saved(deep, kind, **settings)), expected[..., None]) <= 1


def test_grey_of_12_bits_is_scaled(picture: Image.Image, tmp_path: Path) -> None:
    levels = np.asarray(picture.convert("L")).astype(int).reshape(-1, 2) * 4095 // 255
    packed = np.stack([levels[:, 0] >> 4, (levels[:, 0] & 15) << 4 | levels[:, 1] >> 8, levels[:, 1] & 255], -1)
    data = tiff(described(picture, bits=12), [packed.astype(np.uint8).tobytes()], places=273)
    assert furthest(read_bytes(tmp_path / "12.tif", data), np.asarray(picture.convert("L"))[..., None]) <= 1


MODES = ["1", "L", "P", "CMYK", "RGBX", "RGB"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(picture: Image.Image, tmp_path: Path, mode: str) -> None:
    image = picture.convert(mode)
    for kind in ["TIFF", *(["PNG"] if mode in "1LP" else []), *(["JPEG"] if mode == "CMYK" else [])]:
        close = 8 if kind == "JPEG" else 1
        assert furthest(read_bytes(tmp_path / "image", saved(image, kind)), image.convert("RGB")) <= close, kind


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_laid_on_black_whatever_holds_it(picture: Image.Image, tmp_path: Path, kind: str) -> None:
    image = picture.copy()
    image.putalpha(Image.linear_gradient("L").resize(picture.size))
    settings = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    expected = np.asarray(picture) * (np.asarray(image)[..., 3:] / 255)
    assert furthest(read_bytes(tmp_path / "image", saved(image, kind, **settings)), expected.round().astype(int)) <= 6
    indexed = picture.quantize(16)
    data = saved(indexed, "PNG", transparency=3)
    black = np.asarray(indexed)[..., None] == 3
    assert furthest(read_bytes(tmp_path / "indexed", data), np.where(black, 0, np.asarray(indexed.convert("RGB")))) == 0


@pytest.mark.parametrize("junk", [0, 77, 255])
@pytest.mark.parametrize("top_down", [False, True])
def test_the_fourth_byte_of_a_bmp_without_alpha_does_not_matter(
    picture: Image.Image, tmp_path: Path, junk: int, top_down: bool
) -> None:
    rows = np.dstack([np.asarray(picture)[..., ::-1], np.full((48, 64), junk, np.uint8)])[:: 1 if top_down else -1]
    info = struct.pack("<IiiHHIIiiII", 40, 64, -48 if top_down else 48, 1, 32, 0, rows.nbytes, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 54 + rows.nbytes, 0, 0, 54) + info + rows.tobytes()
    assert furthest(read_bytes(tmp_path / "junk.bmp", data), picture) == 0


STILLS = [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("WEBP", {"lossless": True})]
STILLS += [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("AVIF", {}), ("GIF", {})]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # pytest undoes what keeps Pillow silent
@pytest.mark.parametrize("kind, settings", STILLS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_still_cut_short_is_refused_whatever_is_asked(
    picture: Image.Image, tmp_path: Path, kind: str, settings, share: float
) -> None:
    if kind == "JPEG":  # a small picture in the metadata has an end of its own
        exif = Image.Exif()
        exif[0x010E] = saved(picture.resize((16, 12)), "JPEG").decode("latin1")
        settings = {**settings, "exif": exif}
    data = saved(picture, kind, **settings)
    for request in ({}, {"num_frames": 1}, {"num_frames": 1, "size": 16}):
        with pytest.raises(ValueError, match=r"cut: .*(cannot be decoded|is cut short)"):
            read_bytes(tmp_path / "cut", data[: int(len(data) * share)], **request)


def test_half_a_jpeg_is_refused(cases: Path) -> None:
    with pytest.raises(ValueError, match=r"half\.jpg: "):
        Clip.read(cases / "half.jpg", num_frames=1)


@pytest.mark.parametrize("settings", [{}, {"subsampling": 0}, {"restart_marker_blocks": 2}, {"quality": 30}])
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_an_end_marker_that_comes_too_early_hides_nothing(tmp_path: Path, settings, share: float) -> None:
    noise = Image.fromarray(torch.randint(0, 256, (64, 64, 3)).to(torch.uint8).numpy())
    data = saved(noise, "JPEG", **settings)
    with pytest.raises(ValueError, match=r"early\.jpg: is cut short before its last rows"):
        read_bytes(tmp_path / "early.jpg", data[: int(len(data) * share)] + b"\xff\xd9")
    flat = noise.copy()
    flat.paste((9, 99, 200), (0, 30, 64, 64))  # as the margin of a scan: nothing is missing
    for trailer in (b"", b"\0\0", b"what a phone appends"):
        assert read_bytes(tmp_path / "flat.jpg", saved(flat, "JPEG", **settings) + trailer).shape == (64, 64, 3)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_progressive_jpeg_that_ends_within_a_pass_is_refused(tmp_path: Path, share: float) -> None:
    noise = Image.fromarray(torch.randint(0, 256, (64, 64, 3)).to(torch.uint8).numpy())
    data = saved(noise, "JPEG", progressive=True)
    assert read_bytes(tmp_path / "whole.jpg", data).shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"early\.jpg: is cut short before its last rows"):
        read_bytes(tmp_path / "early.jpg", data[: int(len(data) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("lost", [1, 4, 8, 12])
def test_a_png_without_its_end_is_refused(picture: Image.Image, tmp_path: Path, lost: int) -> None:
    with pytest.raises(ValueError, match=r"cut\.png: is cut short"):
        read_bytes(tmp_path / "cut.png", saved(picture, "PNG")[:-lost])


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_times_of_an_animated_avif_do_not_drift(encode, smooth_clip: Clip, tmp_path: Path, fps: int) -> None:
    pictures = smooth_clip.frames_THWC.repeat(4, 1, 1, 1).numpy()
    path = encode(tmp_path / "a.avif", pictures, "libsvtav1", rate=fps, container="avif")
    assert Clip.read(path).duration == pytest.approx(36 / fps, abs=2e-3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "BMP", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("name", ["film.mp4", "other.gif", "nothing"])
def test_the_content_decides_not_the_name(picture: Image.Image, tmp_path: Path, kind: str, name: str) -> None:
    assert read_bytes(tmp_path / name, saved(picture, kind)).shape == (48, 64, 3)


def test_of_several_pictures_of_a_camera_the_first_one_counts(picture: Image.Image, tmp_path: Path) -> None:
    data = saved(picture, "MPO", save_all=True, append_images=[picture.rotate(180)])
    first = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert furthest(read_bytes(tmp_path / "stereo.jpg", data), first) == 0


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix"])
def test_a_picture_in_tiles_that_nobody_joins_is_refused(tmp_path: Path, brand: bytes) -> None:
    with pytest.raises(ValueError, match=r"phone\.heic: is a HEIF picture, which is not read"):
        read_bytes(tmp_path / "phone.heic", struct.pack(">I", 16) + b"ftyp" + brand + bytes(500))


@pytest.mark.parametrize(
    "kind, settings", [("WEBP", {"lossless": True, "kmin": 3, "kmax": 9}), ("AVIF", {"quality": 95})]
)
@pytest.mark.parametrize("with_alpha", [False, True])
def test_animations_are_read_with_all_their_frames(tmp_path: Path, kind: str, settings, with_alpha: bool) -> None:
    pictures = [np.zeros((40, 48, 4), np.uint8) for _ in range(5)]
    for i, picture in enumerate(pictures):
        picture[..., 3] = 0 if with_alpha else 255
        picture[5 * i : 5 * i + 15, 4:30] = 50 * i, 200, 255 - 50 * i, 128 if with_alpha else 255
    images = [Image.fromarray(picture, "RGBA").convert("RGBA" if with_alpha else "RGB") for picture in pictures]
    path = tmp_path / "animation"
    images[0].save(path, kind, save_all=True, append_images=images[1:], duration=125, **settings)
    clip = Clip.read(path)
    assert (len(clip), clip.fps) == (5, pytest.approx(8))
    for picture, frame_HWC in zip(pictures, clip.frames_THWC.numpy(), strict=True):
        expected = picture[..., :3] * (picture[..., 3:] / 255)
        assert np.abs(frame_HWC - expected).mean() < 2
    assert len(Clip.read(path, fps=16)) == 10
    assert Clip.read(path, start=0.3, num_frames=1).frames_THWC.equal(clip.frames_THWC[2:3])


def test_animated_webp_is_composited_as_pillow_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [np.zeros((40, 40, 4), np.uint8) for _ in range(5)]
    for i, picture in enumerate(pictures):
        picture[5 * i : 5 * i + 15, 4:30] = generator.integers(0, 255, (1, 26, 4))
    images = [Image.fromarray(picture, "RGBA") for picture in pictures]
    path = tmp_path / "pillow.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=125, lossless=True, kmin=3, kmax=9)
    clip = Clip.read(path)
    assert (len(clip), clip.fps) == (5, 8)
    for i, frame_HWC in enumerate(clip.frames_THWC.numpy()):
        rgba = pictures[i].astype(float)
        assert np.abs(frame_HWC - rgba[..., :3] * rgba[..., 3:] / 255).max() <= 1.01


def test_an_animation_whose_pictures_last_no_time_has_the_rate_of_browsers(tmp_path: Path) -> None:
    images = [Image.new("RGB", (16, 16), (60 * i, 0, 0)) for i in range(4)]
    images[0].save(tmp_path / "fast.webp", save_all=True, append_images=images[1:], duration=0)
    clip = Clip.read(tmp_path / "fast.webp")
    assert (len(clip), clip.fps) == (4, 10)


def claim_of_jpeg(side: int) -> bytes:
    return saved(Image.new("L", (8, 8)), "JPEG").replace(b"\0\x08\0\x08", struct.pack(">HH", side, side), 1)


PICTURE_CLAIMS: dict[str, Callable[[int], bytes]] = {
    "tif": lambda side: tiff({**described(Image.new("L", (1, 1))), 256: (4, side), 257: (4, side)}, [bytes(99)], 273),
    "jpg": claim_of_jpeg,
    "webp": lambda side: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + 2 * struct.pack("<I", side - 1)[:3],
}


@pytest.mark.parametrize("name", PICTURE_CLAIMS)
@pytest.mark.parametrize("side", [9000, 12_000, 40_000])
def test_large_claims_are_refused_without_a_warning(tmp_path: Path, name: str, side: int, recwarn) -> None:
    with pytest.raises(ValueError, match=r"large: claims .*67 million pixels"):
        read_bytes(tmp_path / "large", PICTURE_CLAIMS[name](side))
    assert not recwarn.list


def test_pillow_says_nothing_beside(picture: Image.Image, tmp_path: Path) -> None:
    """Of damage that is told, and of metadata that do not matter."""
    bad = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"
    (tmp_path / "a.tif").write_bytes(saved(picture, "TIFF", compression="tiff_lzw")[:-40])
    (tmp_path / "b.jpg").write_bytes(saved(picture, "JPEG", exif=bad))
    (tmp_path / "c.webp").write_bytes(saved(picture, "WEBP", exif=bad))
    lines = (
        "import sys",
        "from videogpt_tokenizer import Clip",
        "for path in sys.argv[:0:-1]: print(len(Clip.read(path)))",
    )
    command = [sys.executable, "-c", "\n".join(lines), *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"] and "a.tif: cannot be decoded" in done.stderr
    assert "Warning" not in done.stderr
