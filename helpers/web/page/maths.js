// What helpers.predict.predict does around the network, number by number: scale, pad, run, crop, enlarge.
// A picture is {width, height, planes}: three Float32Arrays of height * width values in [0, 1], row by row.

export const STRIDE = 16; // the network halves four times: height and width must be multiples of this

// As Python rounds: halves go to the even neighbour.
export const round = (x) => (x % 1 === 0.5 && Math.floor(x) % 2 === 0 ? Math.floor(x) : Math.round(x));

// Canvas pixels (RGBA bytes) as a picture.
export function pictureOf({ data, width, height }) {
  const planes = [0, 1, 2].map(() => new Float32Array(width * height));
  planes.forEach((plane, channel) => {
    for (let i = 0; i < plane.length; i++) plane[i] = data[4 * i + channel] / 255;
  });
  return { width, height, planes };
}

// For each new position, the first old one that it sees and the weights of those from there on: a triangle, widened
// where the picture shrinks, as torch's interpolate(mode="bilinear", antialias=True) has it.
function taps(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5);
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = [];
    for (let j = first; j < end; j++) weights.push(Math.max(0, 1 - Math.abs((j - centre + 0.5) / reach)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

// One plane at another size, kept in [0, 1]. canvas.drawImage would average other pixels.
export function resize(plane, width, height, newWidth, newHeight) {
  if (width === newWidth && height === newHeight) return plane;
  const narrow = new Float32Array(height * newWidth);
  taps(width, newWidth).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * plane[y * width + first + k];
      narrow[y * newWidth + x] = sum;
    }
  });
  const out = new Float32Array(newHeight * newWidth);
  taps(height, newHeight).forEach(({ first, weights }, y) => {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * newWidth + x];
      out[y * newWidth + x] = Math.min(1, Math.max(0, sum));
    }
  });
  return out;
}

export const resized = (picture, width, height) => ({
  width, height, planes: picture.planes.map((plane) => resize(plane, picture.width, picture.height, width, height)),
});

// Width and height whose longer one is `size`.
export function fitted({ width, height }, size) {
  const scale = size / Math.max(width, height);
  return [Math.max(1, round(width * scale)), Math.max(1, round(height * scale))];
}

// What the network takes, (1, 3, H, W): the border is repeated up to multiples of STRIDE.
export function padded({ width, height, planes }) {
  const [w, h] = [width, height].map((side) => Math.ceil(side / STRIDE) * STRIDE);
  const values = new Float32Array(3 * h * w);
  planes.forEach((plane, channel) => {
    for (let y = 0; y < h; y++) {
      const row = Math.min(y, height - 1) * width;
      for (let x = 0; x < w; x++) values[(channel * h + y) * w + x] = plane[row + Math.min(x, width - 1)];
    }
  });
  return { values, shape: [1, 3, h, w] };
}

// The corner of a map (.., .., H, W) that belongs to the picture.
export function cropped(values, paddedWidth, { width, height }) {
  const out = new Float32Array(width * height);
  for (let y = 0; y < height; y++) out.set(values.subarray(y * paddedWidth, y * paddedWidth + width), y * width);
  return out;
}

// {mask, depth} of a pair of pictures, at their size. `run(room, scene)` is the network: it takes what `padded` gives
// and promises {mask, depth}, Float32Arrays of that size. Depth is looked at in `depthSize` pixels where that is less.
export async function predict(run, room, scene, trainedSize, depthSize) {
  const look = async (pair) => {
    const [a, b] = pair.map(padded), maps = await run(a, b);
    return { mask: cropped(maps.mask, a.shape[3], pair[0]), depth: cropped(maps.depth, a.shape[3], pair[0]) };
  };
  const [width, height] = fitted(room, trainedSize || Math.min(512, Math.max(room.width, room.height)));
  const pair = [room, scene].map((picture) => resized(picture, width, height));
  const maps = await look(pair);
  if (depthSize && depthSize < Math.max(width, height)) {
    const [w, h] = [width, height].map((side) => Math.max(1, round((side * depthSize) / Math.max(width, height))));
    const small = await look(pair.map((picture) => resized(picture, w, h)));
    maps.depth = resize(small.depth, w, h, width, height);
  }
  return {
    mask: resize(maps.mask, width, height, room.width, room.height),
    depth: resize(maps.depth, width, height, room.width, room.height),
  };
}
