// A video file as square pictures at a constant rate, while the browser plays it.
//
//     await openVideo(video, file);                       // video is a <video> element
//     const frames = new VideoFrames(video, { side: 128, rate: 15, take, end, fail });
//     await frames.rewind(); frames.go(); frames.hold();
//
// `take` gets the RGBA bytes of one picture after the other: of the frame on display at each moment 0, 1 / rate, 2 / rate, ...
// The picture is scaled to cover the square, and its centre is cut out. Refuses files that the browser cannot play.

const SLACK = 0.001; // seconds: time stamps are rounded

/** Load a file and wait for its first frame. */
export async function openVideo(video, file) {
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(`${file.name} is no video that this browser plays: choose an mp4 or webm file.`));
  });
  if (!video.videoWidth) {
    throw new Error(`${file.name} holds sound alone: choose a file with pictures.`);
  }
}

export class VideoFrames {
  #held = null; // the frame on display, until the next is
  #next = 0; // number of the moment to come
  #watch = null;
  #closed = false;

  constructor(video, { side, rate, take, end, fail }) {
    Object.assign(this, { video, side, rate, take });
    const canvas = new OffscreenCanvas(side, side);
    this.context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    this.context.imageSmoothingQuality = "high";
    video.onended = () => {
      this.#holdUntil(video.currentTime - SLACK);
      end();
    };
    video.onerror = () => fail(new Error(`The file cannot be decoded beyond ${video.currentTime.toFixed(1)} seconds.`));
    this.fail = fail;
  }

  /** Go to the start, and take the first frame. */
  async rewind() {
    if (this.#closed) {
      return;
    }
    this.video.pause();
    await new Promise((resolve) => {
      this.video.onseeked = resolve;
      this.video.currentTime = 0;
    });
    if (!this.#closed) {
      this.#see(0);
      this.#watchFrames();
    }
  }

  go() {
    if (this.video.paused && !this.video.ended) {
      this.video.play().catch((error) => {
        if (error.name !== "AbortError") { // which says that hold() came before the video had started
          this.fail(error);
        }
      });
    }
  }

  hold() {
    this.video.pause();
  }

  close() {
    if (this.#closed) {
      return; // the video may belong to others by now
    }
    this.#closed = true;
    this.video.pause();
    this.video.cancelVideoFrameCallback(this.#watch);
    this.video.onended = this.video.onerror = null;
  }

  #watchFrames() {
    this.#watch = this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      this.#see(mediaTime);
      this.#watchFrames();
    });
  }

  #see(time) {
    this.#holdUntil(time - SLACK);
    this.#held = this.#draw();
    this.#holdUntil(time + SLACK);
  }

  /** What is held was on display at all moments before `time` that have not been taken yet. */
  #holdUntil(time) {
    while (this.#held && this.#next / this.rate < time) {
      this.#next++;
      this.take(this.#held);
    }
  }

  #draw() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const cut = Math.min(width, height);
    this.context.drawImage(this.video, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, this.side, this.side);
    return this.context.getImageData(0, 0, this.side, this.side).data;
  }
}
