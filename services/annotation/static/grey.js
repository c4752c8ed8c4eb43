// Grey values: of the service, with the 8 or 16 bits of the data set, or of a picture, with 8 bits.
const KEPT = 40; // patches and mammograms in memory

const kept = new Map();

// A promise of { height, width, bits, values }, by rows.
export function loadGrey(address) {
  const known = kept.get(address);
  if (known !== undefined) return known;
  const loading = /\.grey(\?|$)/.test(address) ? fetchValues(address) : readPicture(address);
  kept.set(address, loading);
  loading.catch(() => kept.delete(address)); // the next look tries again
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return loading;
}

async function fetchValues(address) {
  const answer = await fetch(address);
  if (!answer.ok || answer.headers.get("x-bits") === null) throw new Error(`${address}: ${answer.status}`);
  const [height, width, bits] = ["x-height", "x-width", "x-bits"].map((name) => Number(answer.headers.get(name)));
  const bytes = await answer.arrayBuffer();
  const values = bits === 16 ? littleEndian(bytes) : new Uint8Array(bytes);
  // Each value is the difference to its left neighbour; typed arrays wrap around as the sender's did.
  for (let row = 0; row < height; row += 1) {
    for (let at = row * width + 1; at < (row + 1) * width; at += 1) values[at] += values[at - 1];
  }
  return { height, width, bits, values };
}

function littleEndian(bytes) {
  const view = new DataView(bytes);
  return Uint16Array.from({ length: bytes.byteLength / 2 }, (_, at) => view.getUint16(2 * at, true));
}

async function readPicture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const { naturalHeight: height, naturalWidth: width } = image;
  const context = canvasOf(height, width).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { height, width, bits: 8, values: Uint8Array.from({ length: height * width }, (_, at) => data[4 * at]) };
}

// The window that shows a picture before the reader has chosen one: all grey levels of 8 bits; of 16 bits, those between
// the 0.5th and the 99.5th percentile.
export function ownWindow({ bits, values }) {
  if (bits === 8) return { centre: 128, width: 256 };
  const counts = new Uint32Array(65536);
  for (const value of values) counts[value] += 1;
  const low = levelAt(counts, values.length * 0.005);
  const high = levelAt(counts, values.length * 0.995);
  return { centre: (low + high + 1) / 2, width: high - low + 1 };
}

function levelAt(counts, wanted) {
  let seen = 0;
  return counts.findIndex((count) => (seen += count) > wanted);
}

// A canvas with the grey values between black and white as the linear window of DICOM says (PS3.3, C.11.2.1.2).
export function drawGrey({ height, width, bits, values }, { centre, width: span }) {
  const shades = new Uint8ClampedArray(2 ** bits);
  for (let level = 0; level < shades.length; level += 1) {
    shades[level] = ((level - (centre - 0.5)) / Math.max(1, span - 1) + 0.5) * 255;
  }
  const canvas = canvasOf(height, width);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < values.length; at += 1) pixels[at] = 0xff000000 | (shades[values[at]] * 0x010101);
  context.putImageData(image, 0, 0);
  return canvas;
}

function canvasOf(height, width) {
  return Object.assign(document.createElement("canvas"), { height, width });
}
