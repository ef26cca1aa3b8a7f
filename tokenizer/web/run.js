// One video, once through the tokenizer: frames in groups to the codec, what comes back on show at the video's rate.
//
//     const run = new Run(video, codec, { side, rate, show, report, end, fail });
//     await run.start(); run.play(); run.pause(); run.close();
//
// The first frame is a group of its own, others come time_stride at a time. When the codec is slower than the video,
// the video waits for it, so that memory does not grow. An event `tokens` on `window` tells of every group.

import { Figures, picture } from "./figures.js";
import { VideoFrames } from "./frames.js";

export class Run {
  #group = [];
  #inFlight = 0;
  #ready = []; // frames that have come back and wait to be shown
  #playing = false;
  #readAll = false;
  #closed = false;
  #due = 0;

  constructor(video, codec, { side, rate, show, report, end, fail }) {
    Object.assign(this, { codec, side, rate, show, report, end, fail });
    this.stride = codec.tokenizer.time_stride;
    this.figures = new Figures(codec.tokenizer.codebook_size);
    this.groups = 0;
    this.frames = new VideoFrames(video, {
      side,
      rate,
      take: (frame) => this.#take(frame),
      end: () => {
        this.#readAll = true;
      },
      fail,
    });
  }

  /** Make the first frame ready; nothing plays yet. */
  async start() {
    await this.codec.begin(this.side);
    await this.frames.rewind();
    requestAnimationFrame((now) => this.#tick(now));
  }

  play() {
    this.#playing = true;
    this.#pace();
  }

  pause() {
    this.#playing = false;
    this.frames.hold();
  }

  close() {
    this.#closed = true;
    this.frames.close();
  }

  #take(frame) {
    this.#group.push(frame);
    if (this.#group.length === (this.groups ? this.stride : 1)) {
      const frames = new Uint8ClampedArray(this.#group.length * frame.length);
      this.#group.forEach((bytes, index) => frames.set(bytes, index * frame.length));
      this.#inFlight += this.#group.length;
      this.#group = [];
      this.groups++;
      this.#code(frames).catch((error) => this.#closed || this.fail(error));
      this.#pace();
    }
  }

  async #code(frames) {
    const step = await this.codec.step(frames);
    if (this.#closed) {
      return;
    }
    this.figures.add(step, this.side);
    window.dispatchEvent(new CustomEvent("tokens", { detail: { side: this.side, ...step } }));
    const length = this.side * this.side * 4;
    for (let index = 0; index * length < step.frames.length; index++) {
      const original = new ImageData(step.frames.slice(index * length, (index + 1) * length), this.side);
      this.#ready.push({ original, codes: step.codes, rebuilt: picture(step.pixels, index, this.side) });
      this.#inFlight--;
    }
    this.report(this.figures.now);
    this.#pace();
  }

  #pace() {
    const behind = this.#inFlight + this.#ready.length;
    if (behind > 3 * this.stride) {
      this.frames.hold();
    } else if (this.#playing && behind <= 2 * this.stride) {
      this.frames.go();
    }
  }

  #tick(now) {
    if (this.#closed) {
      return;
    }
    const first = this.#due === 0; // shown at once, also while nothing plays
    if (this.#ready.length && (first || (this.#playing && now >= this.#due))) {
      this.#due = Math.max(this.#due, now - 1000 / this.rate) + 1000 / this.rate;
      this.show(this.#ready.shift());
      this.#pace();
    }
    if (this.#readAll && !this.#ready.length && !this.#inFlight) {
      this.close();
      this.end(this.#group.length);
      return;
    }
    requestAnimationFrame((later) => this.#tick(later));
  }
}
