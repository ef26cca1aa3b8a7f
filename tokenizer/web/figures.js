// What is shown of tokens and pictures: a colour for every code, bytes for float pixels, and the figures of a clip.

const DARKEST = 32; // full black and full white are left to the pictures
const RANGE = 192;

/** The function from a code to its colour, [red, green, blue].
 *
 * A code is one number, but it stands for a level in each of a few channels. Channels 0, 3, ... make red, 1, 4, ...
 * green and 2, 5, ... blue; the first of them weighs most. So codes that decode alike look alike, and each has a colour
 * of its own as long as no more than 193 combinations of levels share a primary.
 */
export function tokenColours(levels) {
  const sizes = [1, 1, 1];
  levels.forEach((count, k) => {
    sizes[k % 3] *= count;
  });
  return (code) => {
    const places = [0, 0, 0];
    levels.forEach((count, k) => {
      places[k % 3] = places[k % 3] * count + (code % count);
      code = Math.floor(code / count);
    });
    return places.map((place, primary) => (Math.round(DARKEST + (RANGE * place) / Math.max(1, sizes[primary] - 1))));
  };
}

/** Frame `index` of float pixels in [-1, 1], as ImageData. */
export function picture(pixels, index, side) {
  const image = new ImageData(side, side);
  const area = side * side;
  const plane = pixels.length / 3;
  for (let i = 0; i < area; i++) {
    for (let colour = 0; colour < 3; colour++) {
      image.data[4 * i + colour] = (pixels[colour * plane + index * area + i] + 1) * 127.5; // clamped and rounded
    }
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/** Sums over a clip, and the figures that follow from them. */
export class Figures {
  #frames = 0;
  #tokens = 0;
  #values = 0;
  #squaredError = 0;
  #encodeSeconds = 0;
  #decodeSeconds = 0;

  constructor(codebookSize) {
    this.bitsPerToken = Math.log2(codebookSize);
  }

  add({ frames, codes, pixels, squaredError, encodeSeconds, decodeSeconds }, side) {
    this.#frames += frames.length / (side * side * 4);
    this.#tokens += codes.length;
    this.#values += pixels.length;
    this.#squaredError += squaredError;
    this.#encodeSeconds += encodeSeconds;
    this.#decodeSeconds += decodeSeconds;
  }

  get now() {
    return {
      frames: this.#frames,
      encodeRate: this.#frames / this.#encodeSeconds,
      decodeRate: this.#frames / this.#decodeSeconds,
      psnr: 10 * Math.log10(4 / Math.max(this.#squaredError / this.#values, 4e-10)), // 100 dB for equal pictures
      bitsPerPixel: (this.#tokens * this.bitsPerToken * 3) / this.#values,
    };
  }
}
