"""The tokenizer in a browser: the page in headless Chromium, held against the tokenizer in Python on the same pixels.

Chromium is driven by the WebDriver protocol, which is JSON over HTTP, through chromium-driver.
"""

import base64
import json
import math
import re
import runpy
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.export.export import export_tokenizer
from videogpt_tokenizer.metrics import psnr
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tokenizer" / "web"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
FLAGS += " --disable-component-update --window-size=1280,900"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of the WebDriver standard
RECORD = """
window.steps = [];
window.base64 = (array) => {
  let text = "";
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
};
addEventListener("tokens", ({ detail: { side, frames, codes, pixels } }) => {
  steps.push([side, base64(frames), base64(codes), base64(pixels)]);
});
"""

pytestmark = pytest.mark.browser

make_server = runpy.run_path(str(PAGE / "serve.py"))["make_server"]  # a script, in no package


class Browser:
    """A session of Chromium: just the commands that these tests need."""

    def __init__(self, driver: str, profile: Path, extra_flags: tuple[str, ...] = ()) -> None:
        self.session = driver
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), *extra_flags, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        started = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"{driver}/session/{started['sessionId']}"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.session + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def open(self, address: str) -> None:
        self.ask("POST", "/url", {"url": address})

    def run(self, script: str, *args: Any) -> Any:
        """What the script returns, which may wait."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": args})

    def find(self, css: str) -> str:
        found = self.ask("POST", "/element", {"using": "css selector", "value": css})
        return f"/element/{found[ELEMENT]}"

    def click(self, css: str) -> None:
        self.ask("POST", self.find(css) + "/click")

    def type(self, css: str, text: str) -> None:
        self.ask("POST", self.find(css) + "/value", {"text": text})

    def show(self, clip: Path, rate: int) -> None:
        """Begin with a clip of 64 x 64 pixels, at a rate."""
        self.click("#size option[value='64']")
        self.click(f"#rate option[value='{rate}']")
        self.type("#file", str(clip))

    def text(self, css: str) -> str:
        return self.ask("GET", self.find(css) + "/text")

    def wait(self, *states: str) -> str:
        """Wait until the page is in one of these states."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            state = self.run("return document.querySelector('main').dataset.state")
            if state in states:
                return state
            time.sleep(0.05)
        raise AssertionError(f"the page stays {state}: {self.text('main')}")

    def steps(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What the page computed since RECORD, step by step: frames THWC, codes HW, pixels CTHW."""
        found = []
        for side, *arrays in self.run("return steps"):
            frames, codes, pixels = (
                np.frombuffer(base64.b64decode(array), dtype)
                for array, dtype in zip(arrays, (np.uint8, np.int32, np.float32), strict=True)
            )
            frames = frames.reshape(-1, side, side, 4)[..., :3]
            found.append((frames, codes.reshape(side // 8, side // 8), pixels.reshape(3, -1, side, side)))
        return found


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: Callable[..., VideoTokenizer]) -> VideoTokenizer:
    """Tiny, with states in both directions."""
    return make_tokenizer(levels=(8, 5, 5, 4), widths=(16, 32), encoder_context="wide", remembers=True)


@pytest.fixture(scope="module")
def exported(tokenizer: VideoTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_tokenizer(tokenizer, "onnx", folder)
    return folder


@contextmanager
def served(export: Path) -> Iterator[str]:
    """The page and an export, by the script that people use."""
    with make_server(export, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def address(exported: Path) -> Iterator[str]:
    with served(exported) as address:
        yield address


@pytest.fixture(scope="module")
def driver() -> Iterator[str]:
    for found, what in ((CHROMIUM, "chromium"), (DRIVER, "chromium-driver")):
        if found is None:
            pytest.skip(f"{what} is not installed: apt-get install chromium chromium-driver")
    if not (PAGE / "node_modules").is_dir():
        pytest.skip("onnxruntime-web is not installed: make browser installs it into tokenizer/web")
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ports = (re.search(r"successfully on port (\d+)", line) for line in process.stdout)
        yield f"http://127.0.0.1:{next(filter(None, ports))[1]}"
        process.terminate()


@pytest.fixture(scope="module")
def browser(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(driver, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.ask("DELETE", "")


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    """The page anew, with its tokenizer loaded."""
    browser.open(address)
    browser.run(RECORD)
    assert browser.wait("ready", "failed") == "ready", browser.text("#problem")
    return browser


@pytest.fixture(scope="module")
def moving_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 frames of 48 x 80 at 8 fps: a group of one, four of four, and one frame too many."""
    generator = torch.Generator().manual_seed(0)
    picture_HWC = torch.randint(0, 256, (6, 10, 3), generator=generator, dtype=torch.uint8)
    picture_HWC = picture_HWC.repeat_interleave(8, 0).repeat_interleave(8, 1)
    frames_THWC = torch.stack([picture_HWC.roll(3 * t, dims=1) for t in range(18)])
    return Clip(frames_THWC, fps=8).write(tmp_path_factory.mktemp("clips") / "moving.mp4")


def test_the_page_computes_what_the_tokenizer_does(page: Browser, tokenizer: VideoTokenizer, moving_clip: Path):
    page.show(moving_clip, rate=8)
    page.wait("playing")
    for _ in range(3):  # a browser with other work passes over frames, and the page goes back for them
        page.run("const end = performance.now() + 400; while (performance.now() < end);")
        time.sleep(0.1)
    assert page.wait("ended", "failed") == "ended", page.text("#problem")

    steps = page.steps()
    assert [len(frames) for frames, _, _ in steps] == [1, 4, 4, 4, 4]
    assert "too few for a group of 4: 1." in page.text("#status")
    frames_THWC = np.concatenate([frames for frames, _, _ in steps])
    assert len({frame.tobytes() for frame in frames_THWC}) == 17  # every frame of the file once
    video_BCTHW = Clip(torch.from_numpy(frames_THWC), fps=8).video_CTHW()[None]
    codes_BTHW = tokenizer.encode(video_BCTHW)
    assert torch.equal(torch.from_numpy(np.stack([codes for _, codes, _ in steps]))[None].long(), codes_BTHW)
    assert len(codes_BTHW.unique()) > 20

    rebuilt_BCTHW = torch.from_numpy(np.concatenate([pixels for _, _, pixels in steps], axis=1))[None]
    wanted_BCTHW = tokenizer.decode(codes_BTHW)
    torch.testing.assert_close(rebuilt_BCTHW, wanted_BCTHW, atol=1e-4, rtol=0)

    assert abs(float(page.text("#psnr")) - float(psnr(wanted_BCTHW, video_BCTHW))) < 0.006  # shown with two decimals
    bits = codes_BTHW.numel() * math.log2(tokenizer.codebook_size) / (17 * 64 * 64)
    assert page.text("#bits") == f"{bits:.4f}" and page.text("#frames") == "17"
    assert min(int(page.text(f"#{half}code")) for half in ("en", "de")) > 0
    shown_HWC = np.array(page.run("return [...rebuilt.getContext('2d').getImageData(0, 0, 64, 64).data]"), np.uint8)
    last_THWC = Clip.from_video(wanted_BCTHW[0, :, -1:], fps=8).frames_THWC
    difference = np.abs(shown_HWC.reshape(64, 64, 4)[..., :3].astype(int) - last_THWC[0].numpy().astype(int))
    assert difference.max() <= 1  # rounded to a byte


def test_controls(page: Browser, tokenizer: VideoTokenizer, moving_clip: Path):
    page.show(moving_clip, rate=4)
    page.wait("playing")
    page.click("#play")
    assert page.wait("paused") and page.text("#play") == "Play"
    time.sleep(0.3)  # what was under way arrives
    before = page.text("#frames")
    time.sleep(0.5)
    assert page.text("#frames") == before and page.run("return video.paused")
    page.click("#play")
    page.wait("ended")
    assert page.text("#frames") == "9" and page.text("#play") == "Play again"  # every other frame of the 18

    for side in (256, 64, 128):  # each begins anew, the last one counts
        page.run("steps.length = 0")
        page.click(f"#size option[value='{side}']")
    page.wait("ended")
    steps = page.steps()[-3:]
    assert [frames.shape for frames, _, _ in steps] == [(1, 128, 128, 3), (4, 128, 128, 3), (4, 128, 128, 3)]
    video_BCTHW = Clip(torch.from_numpy(np.concatenate([frames for frames, _, _ in steps])), fps=4).video_CTHW()[None]
    codes_BTHW = torch.from_numpy(np.stack([codes for _, codes, _ in steps]))[None].long()
    assert torch.equal(codes_BTHW, tokenizer.encode(video_BCTHW))
    assert page.text("#grid") == "16 × 16" and page.text("#frames") == "9"


def test_a_clip_whose_frames_last_long_is_held(page: Browser, grey_levels: Callable[..., Path]):
    """At the page's rate, a frame stands until the next one's time; so do readers in Python."""
    clip = grey_levels("uneven.mp4", [0, 1000, 1250, 2250])
    page.show(clip, rate=4)
    page.wait("ended")
    levels = [int(frame.mean().round()) for frames, _, _ in page.steps() for frame in frames]
    wanted = Clip.read(clip, fps=4, size=64).frames_THWC[: len(levels)].float().mean(dim=(1, 2, 3)).round()
    assert len(levels) == 9
    assert np.abs(np.array(levels) - wanted.numpy()).max() <= 2, levels


def test_less_motion_where_it_is_asked_for(driver: str, address: str, moving_clip: Path, tmp_path: Path):
    calm = Browser(driver, tmp_path, ("--force-prefers-reduced-motion",))
    try:
        calm.open(address)
        calm.wait("ready")
        calm.type("#file", str(moving_clip))
        assert calm.wait("paused", "playing") == "paused"
        time.sleep(0.5)
        assert calm.text("#frames") == "1"  # the first frame is shown, and nothing moves
    finally:
        calm.ask("DELETE", "")


def test_what_is_no_video_gets_a_message(page: Browser, moving_clip: Path, tmp_path: Path):
    (tmp_path / "notes.mp4").write_text("These are words.")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "half.mp4").write_bytes(moving_clip.read_bytes()[:1500])
    for name in ("notes.mp4", "empty.mp4", "half.mp4"):
        page.type("#file", str(tmp_path / name))
        page.wait("failed")
        assert page.text("#problem").startswith(f"{name} is no video that this browser plays")
    page.type("#file", str(moving_clip))  # and another file is welcome
    page.wait("playing", "ended")
    assert page.text("#problem") == ""


def changed(folder: Path, **entries: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **entries}))


BAD_EXPORTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another kind": (lambda folder: changed(folder, kind="torch-export"), "kind torch-export, and the page needs onnx"),
    "later version": (lambda folder: changed(folder, version=2), "version 2, the page reads version 1"),
    "something else": (lambda folder: changed(folder, format="pizza"), "does not describe an exported tokenizer"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "holds no manifest.json"),
    "missing": (lambda folder: (folder / "decoder_step.onnx").unlink(), "decoder_step.onnx is missing"),
    "damaged": (lambda folder: (folder / "encoder.onnx").write_bytes(b"no graph"), "encoder.onnx is damaged"),
}


def test_bad_exports_get_a_message(page: Browser, exported: Path, tmp_path: Path):
    page.click("details:last-of-type summary")
    for name, (spoil, message) in BAD_EXPORTS.items():
        folder = shutil.copytree(exported, tmp_path / name)
        spoil(folder)
        page.type("#folder", str(folder))
        page.wait("failed")
        assert message in page.text("#problem"), name
    page.type("#folder", str(exported))
    page.wait("ready")


def test_a_server_without_an_export_gets_a_message(browser: Browser, tmp_path: Path):
    with served(tmp_path) as address:
        browser.open(address)
        browser.wait("failed")
        assert "There is no tokenizer here" in browser.text("#problem")


def test_nothing_leaves_the_server(page: Browser, address: str, tmp_path: Path):
    asked = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) > 5 and [name for name in asked if not name.startswith(address)] == []
    assert page.run("return crossOriginIsolated")
    forbidden = """
        const seen = new Promise((resolve) => addEventListener("securitypolicyviolation", resolve));
        await fetch(arguments[0], { mode: "no-cors" }).catch(() => {});
        const { effectiveDirective } = await Promise.race([seen, new Promise((end) => setTimeout(end, 1000, {}))]);
        return effectiveDirective;
    """
    assert page.run(forbidden, address) is None
    with served(tmp_path) as elsewhere:
        assert page.run(forbidden, elsewhere) == "connect-src"


def test_colours_tell_codes_apart_and_levels_in_order(page: Browser):
    colours = np.array(
        page.run("""
            const { tokenColours } = await import("/figures.js");
            return Array.from({ length: 64000 }, (_, code) => code).map(tokenColours([8, 8, 8, 5, 5, 5]));
        """)
    )
    assert len(np.unique(colours, axis=0)) == 64000
    by_level = colours.reshape(5, 5, 5, 8, 8, 8, 3)  # the first channel's level changes fastest
    assert (np.diff(by_level, axis=5)[..., 0] > 0).all() and (np.diff(by_level, axis=5)[..., 1:] == 0).all()
    assert (np.diff(by_level, axis=0)[..., 2] > 0).all() and (np.diff(by_level, axis=0)[..., :2] == 0).all()


def test_the_server_gives_the_page_and_the_export_alone(tmp_path: Path):
    exported = tmp_path / "onnx"
    exported.mkdir()
    (exported / "manifest.json").write_text("{}")
    with served(exported) as address:

        def status(path: str) -> int:
            try:
                with urllib.request.urlopen(address + path) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        assert status("/") == status("/model/manifest.json") == status("/page.js") == 200
        (tmp_path / "secret").touch()
        up = "/".join([".."] * len(exported.parts))
        assert status(f"/model/{up}{tmp_path}/secret") == status(f"/{up}{tmp_path}/secret") == 404
        assert status("/model/..%2F" + exported.name) == 404
    with pytest.raises(ValueError, match="is no folder: make it by videogpt export"):
        make_server(tmp_path / "nothing", 0)


def test_the_npm_lock_is_exact_and_names_no_host():
    wanted = json.loads((PAGE / "package.json").read_text())["dependencies"]
    text = (PAGE / "package-lock.json").read_text()
    locked = json.loads(text)["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert "//" not in re.sub(r"sha512-[^\"]*", "", text)
    assert all("integrity" in package for name, package in locked.items() if name)
