// The four graphs and what they remember of a clip, off the page's own thread; asked by codec.js.
//
// The first frame goes through encoder and decoder, all further ones, time_stride at a time, through the step graphs
// with the states that came out before: memory does not grow with the length of the clip.

const ONNXRUNTIME = "./node_modules/onnxruntime-web/dist/";
const LEVELS = Float32Array.from({ length: 256 }, (_, byte) => Math.fround(byte / 127.5) - 1); // as Clip.video_CTHW()

let ort, sessions, stride, side, states, warmSide;

const work = {
  async load({ tokenizer, graphs }, device, threads = 0) {
    try {
      ort = await import(`${ONNXRUNTIME}ort.${device}.min.mjs`);
    } catch {
      throw new Error("onnxruntime-web is not installed: run npm ci --ignore-scripts in tokenizer/web, then reload.");
    }
    ort.env.wasm.numThreads = threads;
    const options = { executionProviders: [device], logSeverityLevel: 3 };
    stride = tokenizer.time_stride;
    sessions = {};
    for (const [name, bytes] of Object.entries(graphs)) {
      sessions[name] = await ort.InferenceSession.create(new Uint8Array(bytes), options).catch((error) => {
        throw new Error(`${name} cannot be loaded: choose another "Runs on", or export again. (${error.message})`);
      });
    }
    const count = ort.env.wasm.numThreads;
    return device === "webgpu" ? "WebGPU" : `WebAssembly, ${count} thread${count === 1 ? "" : "s"}`;
  },

  async begin(newSide) {
    side = newSide;
    if (warmSide !== side) {
      // The first run of a size allocates or compiles; nobody's figures should hold that.
      states = {};
      for (const count of [1, stride]) {
        await work.step(new Uint8ClampedArray(count * side * side * 4));
      }
      warmSide = side;
    }
    states = {};
  },

  async step(frames) {
    const count = frames.length / (side * side * 4);
    const video = videoOf(frames, count);
    const encoded = await run("encoder", { video: new ort.Tensor("float32", video, [1, 3, count, side, side]) });
    const decoded = await run("decoder", { codes: encoded.result });
    const pixels = decoded.result.data;
    let squaredError = 0;
    for (let i = 0; i < pixels.length; i++) {
      squaredError += (pixels[i] - video[i]) ** 2;
    }
    return {
      frames,
      codes: Int32Array.from(encoded.result.data, Number),
      pixels,
      squaredError,
      encodeSeconds: encoded.seconds,
      decodeSeconds: decoded.seconds,
    };
  },
};

async function run(half, feeds) {
  const session = sessions[states[half] ? `${half}_step` : half];
  const before = performance.now();
  const outputs = await session.run({ ...feeds, ...states[half] }).catch((error) => {
    throw new Error(`The network stopped: choose a smaller picture size, or reload the page. (${error.message})`);
  });
  const seconds = (performance.now() - before) / 1000;
  const [first, ...remembered] = session.outputNames;
  states[half] = Object.fromEntries(remembered.map((name) => [name.replace("new_", ""), outputs[name]]));
  return { result: outputs[first], seconds };
}

/** RGBA bytes of frames, one after the other -> float32 in [-1, 1], colour by colour. */
function videoOf(frames, count) {
  const plane = count * side * side;
  const video = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    video[i] = LEVELS[frames[4 * i]];
    video[plane + i] = LEVELS[frames[4 * i + 1]];
    video[2 * plane + i] = LEVELS[frames[4 * i + 2]];
  }
  return video;
}

let last = Promise.resolve(); // one thing after the other, in the order in which they were asked
onmessage = ({ data: { id, name, values } }) => {
  last = last.then(async () => {
    try {
      const result = await work[name](...values);
      postMessage({ id, result });
    } catch (error) {
      postMessage({ id, error: error.message ?? String(error) });
    }
  });
};
