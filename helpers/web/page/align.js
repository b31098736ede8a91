// Before the network looks: do the two pictures show one view, is one darker, do they seem swapped?

import { fitted, resized } from "./maths.js";

const SIZE = 128; // pixels of the longer side, at which everything here is measured
const REACH = 8; // pixels, the largest movement that is looked for
const ALIKE = 0.08; // of the range: pixels that differ less show the same thing
const MOVED = 0.012; // of the longer side, from which on edges of furniture may be taken for cat
const BRIGHTER = 0.12; // of the brightness, less than which no eye sees

// {dx, dy} by how much the camera moved, as shares of the longer side; {gain} how many times as bright the scene is;
// {same} the share of pixels that agree then; {swapped} how many times as strong the cat's outline is in the room.
export function compare(room, scene) {
  const [width, height] = fitted(room, SIZE);
  const [a, b] = [room, scene].map((picture) => resized(picture, width, height).planes);
  const grey = ([red, green, blue]) => red.map((value, i) => 0.3 * value + 0.6 * green[i] + 0.1 * blue[i]);
  const [ga, gb] = [grey(a), grey(b)];
  const gain = ga.map((value, i) => (gb[i] + 0.02) / (value + 0.02)).sort()[ga.length >> 1];
  const [marginX, marginY] = [width, height].map((side) => Math.min(REACH, Math.floor(side / 4)));

  // Calls visit(position in the room, position in the scene) for the part that both show under a movement.
  function overlap(dx, dy, visit, step = 1) {
    for (let y = marginY; y < height - marginY; y += step) {
      for (let x = marginX; x < width - marginX; x += step) visit(y * width + x, (y + dy) * width + x + dx);
    }
  }
  function difference(dx, dy) { // the cat, which differs a lot, counts no more than what differs a little
    let sum = 0;
    overlap(dx, dy, (i, j) => { sum += Math.min(ALIKE, Math.abs(gain * ga[i] - gb[j])); }, 2); // a quarter is enough
    return sum;
  }
  let best = { dx: 0, dy: 0, left: 0.9 * difference(0, 0) }; // a movement must explain something
  for (let dy = -marginY; dy <= marginY; dy++) {
    for (let dx = -marginX; dx <= marginX; dx++) {
      const left = difference(dx, dy);
      if (left < best.left) best = { dx, dy, left };
    }
  }

  const differs = new Uint8Array(width * height), shift = best.dy * width + best.dx;
  let count = 0, all = 0;
  overlap(best.dx, best.dy, (i, j) => {
    const most = Math.max(...[0, 1, 2].map((c) => Math.abs(gain * a[c][i] - b[c][j])));
    differs[i] = most > ALIKE;
    count += differs[i];
    all++;
  });
  // The cat has an outline in the picture that shows it; in the other one nothing is at that place.
  let inRoom = 0, inScene = 0;
  overlap(best.dx, best.dy, (i) => {
    for (const step of [2, -2, 2 * width, -2 * width]) {
      if (!differs[i] || !differs[i - step] || differs[i + step]) continue; // only where a region of some size ends
      for (let c = 0; c < 3; c++) {
        inRoom += gain * Math.abs(a[c][i] - a[c][i + step]);
        inScene += Math.abs(b[c][i + shift] - b[c][i + shift + step]);
      }
    }
  });
  return { dx: best.dx / SIZE, dy: best.dy / SIZE, gain, same: 1 - count / all, swapped: inRoom / (inScene || 1) };
}

const percent = (share) => `${(100 * Math.abs(share)).toFixed(0)} %`;

// What is wrong with a pair, and what to do; empty where nothing is.
export function advice({ dx, dy, gain, same, swapped }) {
  if (same < 0.5) return "These do not seem to be one view: take both pictures from the same place.";
  if (swapped > 1.2) return "The two pictures seem to be swapped: the cat is in the first one.";
  if (Math.hypot(dx, dy) > MOVED) {
    return `The camera moved by about ${percent(Math.hypot(dx, dy))} of the picture: rest it on something and take both again.`;
  }
  if (Math.abs(gain - 1) > BRIGHTER) {
    return `The ${gain < 1 ? "picture with the cat" : "room"} is darker, by ${percent(1 - Math.min(gain, 1 / gain))}: ` +
      "take both in the same light.";
  }
  return "";
}
