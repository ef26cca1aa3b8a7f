// A video file as square pictures at a constant rate, while the browser plays it.
//
//     await openVideo(video, file);                       // video is a <video> element
//     const frames = new VideoFrames(video, { side: 128, rate: 15, take, end, fail });
//     await frames.rewind(); frames.go(); frames.hold();
//
// `take` gets RGBA bytes, picture after picture: of the frame on display at 0, 1 / rate, 2 / rate, ... seconds.
// The picture is scaled to cover the square, and its centre is cut out. Refuses files that the browser cannot play.

const SLACK = 0.001; // seconds: time stamps are rounded

/** Load a file and wait for its first frame. */
export async function openVideo(video, file) {
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Error(`${file.name} is no video that this browser plays: choose an mp4 or webm.`));
  });
  if (!video.videoWidth) {
    throw new Error(`${file.name} holds sound alone: choose a file with pictures.`);
  }
}

export class VideoFrames {
  #held = null; // the frame on display, until the next is
  #heldTime = 0;
  #next = 0; // number of the moment to come
  #interval = Infinity; // the shortest time, of those that are certain, between two frames of the file
  #wanted = false; // to play
  #looking = false; // for frames that the browser passed over
  #watch = null;
  #closed = false;

  constructor(video, { side, rate, take, end, fail }) {
    Object.assign(this, { video, side, rate, take, fail });
    const canvas = new OffscreenCanvas(side, side);
    this.context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    this.context.imageSmoothingQuality = "high";
    video.onended = async () => {
      await this.#until(video.currentTime);
      if (video.ended && !this.#closed) {
        end();
      }
    };
    video.onerror = () => fail(new Error(`The file cannot be decoded beyond ${video.currentTime.toFixed(1)} seconds.`));
  }

  /** Go to the start, and take the first frame. */
  async rewind() {
    this.hold();
    await this.#seek(0);
    if (!this.#closed) {
      this.#see();
      this.#watchFrames();
    }
  }

  go() {
    this.#wanted = true;
    if (!this.#looking && !this.#closed && this.video.paused && !this.video.ended) {
      this.video.play().catch((error) => {
        if (error.name !== "AbortError") { // which says that hold() came before the video had started
          this.fail(error);
        }
      });
    }
  }

  hold() {
    this.#wanted = false;
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
    this.#watch = this.video.requestVideoFrameCallback(async (_, { mediaTime }) => {
      if (!this.#looking && (await this.#until(mediaTime)) && !this.#closed) {
        this.#heldTime = mediaTime;
        this.#see();
      }
      if (!this.#closed) {
        this.#watchFrames();
      }
    });
  }

  /** The frame on display is taken for the moment that it stands at, if it does. */
  #see() {
    this.#held = this.#draw();
    this.#takeUntil(this.#heldTime + SLACK);
  }

  /** What is held was on display at the moments before that have not been taken yet. */
  #takeUntil(time) {
    while (this.#next / this.rate < time) {
      this.#next++;
      this.take(this.#held);
    }
  }

  /** Take the moments before `time`, at which the browser shows the next frame; false if it has to go back first.
   *
   * A busy browser passes over frames. Whether it did is seen at the last of these moments: if what is held is still
   * there, it stood so long in the file, too. Else the video plays on from the first of them.
   */
  async #until(time) {
    const before = time - SLACK;
    const gap = time - this.#heldTime;
    const certain = gap < 1.5 * this.#interval && this.#interval < Infinity;
    const first = this.#next;
    const last = Math.ceil(before * this.rate) - 1;
    if (last >= first && !certain) {
      this.#looking = true;
      this.video.pause();
      await this.#seek(last / this.rate + SLACK);
      const stands = this.#draw().every((byte, i) => byte === this.#held[i]);
      if (!stands) {
        await this.#seek(first / this.rate + SLACK);
      }
      this.#looking = false;
      if (this.#closed) {
        return false;
      }
      if (!stands) {
        this.#heldTime = first / this.rate;
        this.#see();
      } else {
        this.#interval = Math.min(this.#interval, gap);
        this.#takeUntil(before);
      }
      if (this.#wanted) {
        this.go();
      }
      return false;
    }
    if (certain && gap > SLACK) {
      this.#interval = Math.min(this.#interval, gap);
    }
    this.#takeUntil(before);
    return true;
  }

  #seek(time) {
    return new Promise((resolve) => {
      this.video.onseeked = () => this.video.seeking || resolve(); // a later seek may have begun
      this.video.currentTime = time;
    });
  }

  #draw() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const cut = Math.min(width, height);
    this.context.drawImage(this.video, (width - cut) / 2, (height - cut) / 2, cut, cut, 0, 0, this.side, this.side);
    return this.context.getImageData(0, 0, this.side, this.side).data;
  }
}
