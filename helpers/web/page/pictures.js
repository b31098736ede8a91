// From a file, or a camera's picture, to the pixels that the page works with; or a sentence that says why not.

import { Told } from "./files.js";

const MEGABYTES = 64;
const MEGAPIXELS = 50; // as in Python: what is larger may take more memory than a phone has
const LONGEST = 1024; // pixels; a larger picture is shown, and cut out, at this size
const SHORTEST = 16;

const text = (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end));

// What a file's header says before anything is decoded: {width, height, whole}, or null for a kind that is not known.
// Browsers show a picture that is cut short with a grey rest; so its end is looked for.
export function header(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 30) return null;
  if (text(bytes, 1, 4) === "PNG") {
    return { width: view.getUint32(16), height: view.getUint32(20), whole: new TextDecoder("latin1").decode(bytes).includes("IEND") };
  }
  if (text(bytes, 0, 3) === "GIF") {
    return { width: view.getUint16(6, true), height: view.getUint16(8, true), whole: true };
  }
  if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP") {
    const size = { VP8X: [24, 27].map((at) => 1 + (view.getUint32(at - 1, true) >>> 8)),
      "VP8 ": [26, 28].map((at) => view.getUint16(at, true) & 0x3fff),
      VP8L: [0, 14].map((bits) => 1 + ((view.getUint32(21, true) >>> bits) & 0x3fff)) }[text(bytes, 12, 16)] ?? [0, 0];
    return { width: size[0], height: size[1], whole: bytes.length >= view.getUint32(4, true) + 8 };
  }
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  for (let at = 2; at + 9 < bytes.length;) { // JPEG: from marker to marker
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      let end = bytes.length - 2; // cameras put more behind the picture's end
      while (end > at && !(bytes[end] === 0xff && bytes[end + 1] === 0xd9)) end--;
      return { width: view.getUint16(at + 7), height: view.getUint16(at + 5), whole: end > at };
    }
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2); // any marker may have more 0xff before it
  }
  return { width: 0, height: 0, whole: false };
}

// A file (or Blob) as ImageData, upright as its EXIF says.
export async function read(file) {
  const name = file.name ? `“${file.name}”` : "The picture";
  if (file.size > MEGABYTES * 2 ** 20) throw new Told(`${name} is larger than ${MEGABYTES} MB: save it smaller.`);
  const bytes = new Uint8Array(await file.arrayBuffer()), claims = header(bytes);
  if (claims && claims.width * claims.height > MEGAPIXELS * 1e6) {
    throw new Told(`${name} has ${claims.width} × ${claims.height} pixels: scale it below ${MEGAPIXELS} megapixels.`);
  }
  if (claims && !claims.whole) throw new Told(`${name} is cut short: copy or save it anew.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    if (/^ftyp(he|mif1|msf1)/.test(text(bytes, 4, 12))) {
      throw new Told(`${name} is a HEIC picture, which this browser cannot read: export it as JPEG, or let the camera ` +
        "take JPEGs (iPhone: Settings > Camera > Formats > Most Compatible).");
    }
    throw new Told(claims ? `${name} is damaged: copy or save it anew.`
      : `${name} is not a picture that this browser can read: choose a JPEG, PNG or WebP.`);
  }
  try {
    return pixels(bitmap, bitmap.width, bitmap.height, name);
  } finally {
    bitmap.close(); // up to 200 MB, which else stay until the browser tidies up
  }
}

// What a canvas can draw (a bitmap, a video's current frame) as ImageData.
export function pixels(source, width, height, name = "The picture") {
  if (Math.min(width, height) < SHORTEST) {
    throw new Told(`${name} is only ${width} × ${height} pixels: choose one of at least ${SHORTEST} on each side.`);
  }
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
