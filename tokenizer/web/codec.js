// The tokenizer as the page sees it: a worker that takes frames and gives tokens and frames.
//
//     const codec = await Codec.start(exported, "wasm");  // or "webgpu"; codec.runtime says in words what runs
//     await codec.begin(128);                             // a new clip of 128 x 128 pictures
//     const step = await codec.step(frames);              // RGBA bytes of the first frame, then of four at a time
//
// A step answers with: frames (those given), codes, pixels (float32 RGB, frame after frame in each colour, in [-1, 1]),
// squaredError (a sum), encodeSeconds, decodeSeconds. Errors of the worker are thrown here.

export class Codec {
  #worker = new Worker(new URL("codec_worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #asked = 0;

  /** Load an export. `threads` is for measurements; without it, onnxruntime decides. */
  static async start(exported, device, threads) {
    const codec = new Codec();
    codec.#worker.onmessage = ({ data }) => codec.#answer(data.id, data.error, data.result);
    codec.#worker.onerror = () => {
      const message = "The worker did not start: use a browser with module workers, of 2023 or newer.";
      codec.#waiting.forEach((_, id) => codec.#answer(id, message));
    };
    codec.tokenizer = exported.tokenizer;
    codec.device = device;
    try {
      codec.runtime = await codec.#ask("load", [exported, device, threads]);
    } catch (error) {
      codec.close();
      throw error;
    }
    return codec;
  }

  /** Forget the clip so far and begin another. */
  begin(side) {
    return this.#ask("begin", [side]);
  }

  step(frames) {
    return this.#ask("step", [frames], [frames.buffer]);
  }

  /** End the worker; what it was asked and has not answered is never answered. */
  close() {
    this.#worker.terminate();
  }

  #ask(name, values, transfer = []) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#asked, { resolve, reject });
      this.#worker.postMessage({ id: this.#asked, name, values }, transfer);
    });
  }

  #answer(id, error, result) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) {
      resolve(result);
    } else {
      reject(new Error(error));
    }
  }
}
