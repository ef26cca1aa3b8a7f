"""The tokenizer in a browser: the page in headless Chromium, held against the tokenizer in Python, byte for byte of pixels.

Chromium is driven by the WebDriver protocol, which is JSON over HTTP, through chromium-driver.
"""

import base64
import importlib.util
import json
import math
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange

from videogpt_tokenizer.autoencoder import AutoencoderConfig
from videogpt_tokenizer.clip import Clip
from videogpt_tokenizer.export import export_tokenizer
from videogpt_tokenizer.metrics import psnr
from videogpt_tokenizer.quantizers import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

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
  for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) text += String.fromCharCode(byte);
  return btoa(text);
};
addEventListener("tokens", ({ detail: { side, frames, codes, pixels } }) => {
  steps.push([side, base64(frames), base64(codes), base64(pixels)]);
});
"""

pytestmark = pytest.mark.browser


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

    def run(self, script: str) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def find(self, css: str) -> str:
        found = self.ask("POST", "/element", {"using": "css selector", "value": css})
        return f"/element/{found[ELEMENT]}"

    def click(self, css: str) -> None:
        self.ask("POST", self.find(css) + "/click")

    def type(self, css: str, text: str) -> None:
        self.ask("POST", self.find(css) + "/value", {"text": text})

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
def tokenizer() -> VideoTokenizer:
    """Tiny, with states in both directions, and mixes over time (zero at the start of training) that matter."""
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16, 32), encoder_depth=1, decoder_depth=1, encoder_context="wide")
    quantizer = QuantizerConfig(kind="fsq", levels=(8, 5, 5, 4))
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=quantizer))
    for name, parameter in tokenizer.named_parameters():
        if "mix" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tokenizer.eval()


@pytest.fixture(scope="module")
def exported(tokenizer: VideoTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export_tokenizer(tokenizer, "onnx", folder)
    return folder


@pytest.fixture(scope="module")
def address(exported: Path) -> Iterator[str]:
    """The page and the export, served by the script that people use."""
    spec = importlib.util.spec_from_file_location("serve", PAGE / "serve.py")
    assert spec is not None and spec.loader is not None
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    server = serve.make_server(exported, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


@pytest.fixture
def moving_clip(tmp_path: Path) -> Path:
    """18 frames of 48 x 80 at 8 fps: a group of one, four of four, and one frame too many."""
    generator = torch.Generator().manual_seed(0)
    picture_HWC = torch.randint(0, 256, (6, 10, 3), generator=generator, dtype=torch.uint8)
    picture_HWC = picture_HWC.repeat_interleave(8, 0).repeat_interleave(8, 1)
    frames_THWC = torch.stack([picture_HWC.roll(3 * t, dims=1) for t in range(18)])
    return Clip(frames_THWC, fps=8).write(tmp_path / "moving.mp4")


def test_the_page_computes_what_the_tokenizer_does(page: Browser, tokenizer: VideoTokenizer, moving_clip: Path):
    page.click("#size option[value='64']")
    page.click("#rate option[value='8']")
    page.type("#file", str(moving_clip))
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
