// The page: controls and what they do. What a video, a tokenizer and a run are, the other modules know.

import { Codec } from "./codec.js";
import { fromFolder, fromServer } from "./export_files.js";
import { tokenColours } from "./figures.js";
import { openVideo } from "./frames.js";
import { Run } from "./run.js";

const SIZES = [64, 128, 256];
const main = document.querySelector("main");
const at = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let exported, codec, run, fileName, colour;

/** State: loading, ready (for a video), paused, playing, ended, failed. */
function enter(state, words) {
  main.dataset.state = state;
  at("status").textContent = words;
  at("play").textContent = state === "playing" ? "Pause" : state === "ended" ? "Play again" : "Play";
  at("play").disabled = !["paused", "playing", "ended"].includes(state);
  at("problem").hidden = true;
}

function fail(error) {
  run?.close();
  run = undefined;
  enter("failed", "");
  at("problem").textContent = error.message;
  at("problem").hidden = false;
}

/** What the user asked for last wins: an earlier request that is still under way ends without a word. */
let request = 0;
async function attempt(words, what) {
  const mine = ++request;
  run?.close();
  run = undefined;
  enter("loading", words);
  try {
    await what(() => mine !== request);
  } catch (error) {
    if (mine === request) {
      fail(error);
    }
  }
}

function useExport(read) {
  return attempt("Loading the tokenizer", async (stale) => {
    const found = await read();
    if (!stale()) {
      exported = found;
      await startCodec(stale);
    }
  });
}

async function startCodec(stale) {
  const started = await Codec.start(exported, at("device").value);
  if (stale()) {
    started.close();
    return;
  }
  codec?.close();
  codec = started;
  const { levels, space_stride: space, time_stride: time } = codec.tokenizer;
  colour = tokenColours(levels);
  at("stride").textContent = `${space} × ${space} pixels of ${time} frames (the first frame has tokens of its own)`;
  const chosen = at("size").selectedIndex;
  const sides = SIZES.map((size) => Math.max(1, Math.round(size / space)) * space);
  at("size").replaceChildren(...sides.map((side) => new Option(`${side} × ${side}`, side)));
  at("size").selectedIndex = chosen === -1 ? 1 : chosen;
  for (const id of ["file", "size", "rate", "device"]) {
    at(id).disabled = false;
  }
  await (fileName ? startRun(stale) : enter("ready", `Ready: ${codec.runtime}`));
}

function useFile(file) {
  return attempt(`Opening ${file.name}`, async (stale) => {
    fileName = undefined;
    await openVideo(at("video"), file);
    if (!stale()) {
      fileName = file.name;
      await startRun(stale);
    }
  });
}

async function startRun(stale) {
  const side = Number(at("size").value);
  const started = new Run(at("video"), codec, {
    side,
    rate: Number(at("rate").value),
    show: (frame) => show(frame, side),
    report,
    fail,
    end: (left) => {
      const rest = left ? `Frames left over, too few for a group of ${codec.tokenizer.time_stride}: ${left}. ` : "";
      enter("ended", `${fileName}: at its end. ${rest}${codec.runtime}`);
    },
  });
  run = started;
  await started.start();
  if (!stale()) {
    (calm.matches ? pause : play)();
  }
}

function play() {
  run.play();
  enter("playing", `${fileName}: playing. ${codec.runtime}`);
}

function pause() {
  run.pause();
  enter("paused", `${fileName}: paused. ${codec.runtime}`);
}

function restart() {
  return fileName && codec && attempt(`Opening ${fileName}`, startRun);
}

function show({ original, codes, rebuilt }, side) {
  paint(at("original"), original);
  paint(at("rebuilt"), rebuilt);
  const width = side / codec.tokenizer.space_stride;
  const tokens = new ImageData(width, width);
  codes.subarray(-width * width).forEach((code, i) => tokens.data.set([...colour(code), 255], 4 * i));
  paint(at("tokens"), tokens);
  at("grid").textContent = `${width} × ${width}`;
}

function paint(canvas, image) {
  if (canvas.width !== image.width) {
    canvas.width = canvas.height = image.width;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function report({ frames, encodeRate, decodeRate, psnr, bitsPerPixel }) {
  at("frames").textContent = frames;
  at("encode").textContent = Math.round(encodeRate);
  at("decode").textContent = Math.round(decodeRate);
  at("psnr").textContent = psnr.toFixed(2);
  at("bits").textContent = bitsPerPixel.toFixed(4);
}

at("file").onchange = () => at("file").files.length && useFile(at("file").files[0]);
at("folder").onchange = () => at("folder").files.length && useExport(() => fromFolder(at("folder").files));
at("size").onchange = at("rate").onchange = restart;
at("device").onchange = () => attempt("Loading the tokenizer", startCodec);
at("play").onclick = () => ({ playing: pause, paused: play, ended: restart })[main.dataset.state]();

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragenter" || kind === "dragover");
  });
}
window.addEventListener("drop", ({ dataTransfer: { files } }) => {
  if (at("file").disabled) {
    return;
  }
  if (files.length === 1) {
    useFile(files[0]);
  } else {
    attempt("", async () => {
      throw new Error(`${files.length} files were dropped: drop one video.`);
    });
  }
});

at("device").querySelector("[value=webgpu]").disabled = !(await navigator.gpu?.requestAdapter());
await useExport(() => fromServer("model/"));
