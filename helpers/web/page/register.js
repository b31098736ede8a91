// Registration, as helpers.photos.register does it in Python: the room is brought onto the scene's pixels and into its
// light. A similarity (turn, scale, shift) is what a hand does to a camera between two pictures, and the network looks
// at so few pixels that they hardly tell the other four numbers of a homography. It is found by Gauss-Newton steps from
// coarse pictures to fine ones (Lucas and Kanade, 1981); pixels that fit badly, the cat's, hardly count in them.

import { fitted, resized } from "./maths.js";

const COARSEST = 32; // pixels of the longer side
const REACH = 5; // pixels of the coarsest picture, the largest shift that is tried at first
const STARTS = 6; // of these shifts, those that are refined
const [STEPS, ENOUGH] = [12, 1e-4]; // at each size, at most; the change that is too small for another one
const FITS = 6; // of the light, each with other weights
const CLIPPED = [0.03, 0.96]; // below and above, a camera no longer tells differences
const [LEAST_ERROR, MOST_ERROR] = [0.015, 0.08]; // of the range: there may always be noise; more is as bad
const GAINS = [0.4, 2.5];

// A move takes a place in the scene to that in the room: lengths in longer sides, from the picture's centre.
export const STILL = { turn: 0, scale: 1, x: 0, y: 0 };

// The room as `move` shows it, between pixels interpolated, beyond its border repeated; and `seen`, 1 within it.
export function moved({ width, height, planes }, { turn, scale, x, y }) {
  const side = Math.max(width, height), [cos, sin] = [scale * Math.cos(turn), scale * Math.sin(turn)];
  const [middleX, middleY] = [(width - 1) / 2, (height - 1) / 2], seen = new Uint8Array(width * height);
  const out = planes.map(() => new Float32Array(width * height));
  for (let i = 0; i < width * height; i++) {
    const [across, down] = [(i % width) - middleX, Math.floor(i / width) - middleY];
    const [u, v] = [cos * across - sin * down + x * side + middleX, sin * across + cos * down + y * side + middleY];
    seen[i] = u > -0.02 && v > -0.02 && u < width - 0.98 && v < height - 0.98;
    const [nearX, nearY] = [Math.min(width - 1, Math.max(0, u)), Math.min(height - 1, Math.max(0, v))];
    const at = Math.floor(nearY) * width + Math.floor(nearX), [right, below] = [nearX % 1, nearY % 1];
    const next = right ? 1 : 0, under = below ? width : 0; // at the border there is no next one
    for (let c = 0; c < out.length; c++) {
      const plane = planes[c], upper = plane[at] * (1 - right) + plane[at + next] * right;
      out[c][i] = upper * (1 - below) + (plane[at + under] * (1 - right) + plane[at + under + next] * right) * below;
    }
  }
  return { width, height, planes: out, seen };
}

export const greyOf = ({ width, height, planes: [red, green, blue] }) =>
  ({ width, height, planes: [red.map((value, i) => 0.3 * value + 0.6 * green[i] + 0.1 * blue[i])] });

// The x of the system A x = b, A symmetric and positive, by elimination; null where A does not tell it.
function solved(A, b) {
  for (let k = 0; k < b.length; k++) {
    if (!(A[k][k] > 1e-9)) return null;
    for (let j = 0; j < b.length; j++) {
      const share = j === k ? 0 : A[j][k] / A[k][k];
      for (let i = k; i < b.length; i++) A[j][i] -= share * A[k][i];
      b[j] -= share * b[k];
    }
  }
  return b.map((value, k) => value / A[k][k]);
}

// How much each pixel counts: little where the room, moved and in the light `gain`, `offset`, is far from the scene.
function weights(room, scene, { gain, offset }) {
  const [a, b] = [room.planes[0], scene.planes[0]], error = new Float32Array(a.length).fill(Infinity);
  for (let i = 0; i < a.length; i++) {
    const known = room.seen[i] && a[i] > CLIPPED[0] && a[i] < CLIPPED[1] && b[i] > CLIPPED[0] && b[i] < CLIPPED[1];
    if (known) error[i] = Math.abs(gain * a[i] + offset - b[i]);
  }
  const some = error.filter((value, i) => i % 5 === 0 && value < Infinity).sort(); // enough for a median
  const usual = Math.max(LEAST_ERROR, 2 * some[some.length >> 1] || 0);
  for (let i = 0; i < a.length; i++) error[i] = 1 / (1 + (error[i] / usual) * (error[i] / usual));
  return error.map((share) => share * share);
}

// One Gauss-Newton step in turn, scale, shift and light, from all pixels.
function step(room, scene, found) {
  const { width, height } = scene, side = Math.max(width, height), now = moved(room, found.move), [a] = now.planes;
  const weight = weights(now, scene, found), row = new Float64Array(6);
  const A = Array.from({ length: 6 }, () => new Float64Array(6)), b = new Float64Array(6);
  for (let y = 1; y < height - 1; y++) {
    for (let x = 1; x < width - 1; x++) {
      const i = y * width + x;
      if (!weight[i]) continue;
      const [gx, gy] = [1, width].map((next) => found.gain * side * (a[i + next] - a[i - next]) / 2);
      const [across, down] = [(x - (width - 1) / 2) / side, (y - (height - 1) / 2) / side];
      row.set([gy * across - gx * down, gx * across + gy * down, gx, gy, a[i], 1]);
      const left = scene.planes[0][i] - found.gain * a[i] - found.offset;
      for (let k = 0; k < 6; k++) {
        b[k] += weight[i] * row[k] * left;
        for (let j = 0; j <= k; j++) A[k][j] += weight[i] * row[k] * row[j];
      }
    }
  }
  for (let k = 0; k < 6; k++) for (let j = 0; j < k; j++) A[j][k] = A[k][j];
  const change = solved(A, b);
  if (!change) return found;
  const { move, gain, offset } = found;
  return {
    move: { turn: move.turn + change[0], scale: move.scale + change[1], x: move.x + change[2], y: move.y + change[3] },
    gain: Math.min(GAINS[1], Math.max(GAINS[0], gain + change[4])), offset: offset + change[5],
  };
}

// How much is left over: mean difference where both see, a large one, the cat's, no more than a small one.
function leftOver(room, scene, { move, gain, offset }) {
  const { planes: [a], seen } = moved(room, move), [b] = scene.planes;
  let sum = 0, count = 0;
  seen.forEach((inside, i) => {
    if (inside) [sum, count] = [sum + Math.min(MOST_ERROR, Math.abs(gain * a[i] + offset - b[i])), count + 1];
  });
  return count > 0.6 * b.length ? sum / count : Infinity;
}

// {move, gain, offset} of two small grey pictures of one size: where the room is to be looked at, and in which light.
export function register(room, scene) {
  const most = Math.max(scene.width, scene.height);
  const at = (size) => [room, scene].map((picture) => resized(picture, ...fitted(scene, size)));
  function refined(pair, found) {
    for (let k = 0, change = 1; k < STEPS && change > ENOUGH; k++) {
      const next = step(...pair, found);
      change = Math.max(...Object.keys(STILL).map((name) => Math.abs(next.move[name] - found.move[name])));
      found = next;
    }
    return { ...found, left: leftOver(...pair, found) };
  }
  let size = Math.min(COARSEST, most), pair = at(size);
  const [a, b] = pair.map(({ planes }) => planes[0]);
  const gain = a.map((value, i) => (b[i] + 0.02) / (value + 0.02)).sort()[a.length >> 1];
  const guesses = [];
  for (let x = -REACH; x <= REACH; x++) {
    for (let y = -REACH; y <= REACH; y++) {
      const guess = { move: { ...STILL, x: x / size, y: y / size }, gain, offset: 0 };
      guesses.push({ ...guess, left: leftOver(...pair, guess) });
    }
  }
  const best = (list) => list.sort((p, q) => p.left - q.left);
  let found = best(best(guesses).slice(0, STARTS).map((guess) => refined(pair, guess)))[0];
  while (size < most) {
    size = Math.min(most, 2 * size);
    found = refined(at(size), found);
  }
  return found;
}

// What brings a room, moved already, into the scene's light: a gain and an offset for each colour, by least squares.
// {gain} how many times as bright the scene is, {light} a function of the room and the scene, of any size.
export function inLightOf(room, scene) {
  const sums = [0, 0], lights = room.planes.map((plane, c) => {
    const pair = [{ planes: [plane], seen: room.seen }, { planes: [scene.planes[c]] }];
    let [gain, offset] = [1, 0];
    for (let k = 0; k < FITS; k++) {
      const weight = weights(...pair, { gain, offset });
      let [n, a, b, aa, ab] = [0, 0, 0, 0, 0];
      plane.forEach((value, i) => {
        const [w, other] = [weight[i], scene.planes[c][i]];
        [n, a, b, aa, ab] = [n + w, a + w * value, b + w * other, aa + w * value * value, ab + w * value * other];
      });
      const spread = aa - (a * a) / n;
      if (spread > 1e-4 * n) gain = Math.min(GAINS[1], Math.max(GAINS[0], (ab - (a * b) / n) / spread));
      if (n) offset = (b - gain * a) / n;
      if (k === FITS - 1) [sums[0], sums[1]] = [sums[0] + a, sums[1] + b];
    }
    return (value, like) => {
      const lit = Math.min(1, Math.max(0, gain * value + offset));
      // What the camera saw as white or black may have been whiter or blacker still, as the scene says.
      return value > CLIPPED[1] ? Math.max(lit, like) : value < CLIPPED[0] ? Math.min(lit, like) : lit;
    };
  });
  const light = (picture, other) => ({ ...picture,
    planes: picture.planes.map((plane, c) => plane.map((value, i) => lights[c](value, other.planes[c][i]))) });
  return { gain: sums[0] ? sums[1] / sums[0] : 1, light };
}
