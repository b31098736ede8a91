// Before the network looks: do the two pictures show one view, and do they seem swapped? Where the camera moved a
// little, or chose another exposure, the room is corrected.

import { fitted, resized } from "./maths.js";
import { STILL, greyOf, inLightOf, moved, register } from "./register.js";

const SIZE = 128; // pixels of the longer side, at which pictures are compared: what the network sees
const TILE = 1 / 8; // of the longer side
const TEXTURE = 0.02; // of the range: deviation in a tile below which nothing can be recognised
const FLAT = 1e-6; // of the range, squared: in a tile of one colour rounding would decide
const ALIKE = 0.7, LEAST_ALIKE = 0.4; // correlation of tiles that look alike; share of them below which rooms differ
const FEWEST = 4; // tiles with texture: of fewer nothing can be told, and nothing has to move
const CAT_TILES = 0.5; // of the tiles, that a cat and its shadow may take
const MOVED = 0.004; // of the longer side: half a pixel of what the network sees
const FARTHEST = 0.25; // of the longer side: nobody's hand moves so much between two pictures
const BRIGHTER = 0.03; // of the brightness, from which the room is corrected
const DIFFERENT = 0.08; // of the range: pixels that differ less show the same thing

// Of tiles that overlap by half: {most} how many could look alike, and {alike} how many do.
function tiles(room, scene) {
  const { width, height } = scene, side = Math.max(2, Math.floor(Math.max(width, height) * TILE));
  const [a, b] = [room.planes[0], scene.planes[0]], counts = { all: 0, room: 0, textured: 0, alike: 0 };
  for (let y = 0; y + side <= height; y += side >> 1) {
    for (let x = 0; x + side <= width; x += side >> 1) {
      let [n, sa, sb, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
      for (let k = 0; k < side * side; k++) {
        const i = (y + Math.floor(k / side)) * width + x + (k % side);
        if (!room.seen[i]) continue;
        [n, sa, sb] = [n + 1, sa + a[i], sb + b[i]];
        [aa, bb, ab] = [aa + a[i] * a[i], bb + b[i] * b[i], ab + a[i] * b[i]];
      }
      if (n < (side * side) / 2) continue;
      const spread = (squares, sum) => Math.sqrt(Math.max(0, squares / n - (sum / n) ** 2));
      const [spreadA, spreadB] = [spread(aa, sa), spread(bb, sb)];
      const textured = Math.max(spreadA, spreadB) > TEXTURE;
      counts.all++;
      counts.room += spreadA > TEXTURE;
      counts.textured += textured;
      counts.alike += textured && ab / n - (sa * sb) / n ** 2 > ALIKE * Math.max(spreadA * spreadB, FLAT);
    }
  }
  return { most: Math.max(counts.room, counts.textured - CAT_TILES * counts.all), alike: counts.alike };
}

// How many times as strong the outline of what differs is in the room: the cat has one in the picture that shows it, in
// the other one nothing is at that place.
function swapped(room, scene) {
  const { width, height } = scene, [a, b] = [room.planes, scene.planes];
  const differs = a[0].map((_, i) => room.seen[i] && [0, 1, 2].some((c) => Math.abs(a[c][i] - b[c][i]) > DIFFERENT));
  let inRoom = 0, inScene = 0;
  for (let i = 2 * width; i < width * (height - 2); i++) {
    if (!differs[i] || i % width < 2 || i % width >= width - 2) continue;
    for (const step of [2, -2, 2 * width, -2 * width]) {
      if (!differs[i - step] || differs[i + step] || !room.seen[i + step]) continue; // where a region of some size ends
      for (let c = 0; c < 3; c++) {
        inRoom += Math.abs(a[c][i] - a[c][i + step]);
        inScene += Math.abs(b[c][i] - b[c][i + step]);
      }
    }
  }
  return inRoom / (inScene || 1);
}

// {room} on the scene's pixels and in its light, {seen} 1 where the picture of the room reaches; what was corrected:
// {shift} in longer sides, {turn} in degrees, {scale}, {gain} how many times as bright the scene is; {alike} whether
// both show one view, {swapped} how many times as strong the cat's outline is in the room.
export function align(room, scene) {
  const [a, b] = [room, scene].map((picture) => resized(picture, ...fitted(scene, SIZE)));
  const [greyA, greyB] = [a, b].map(greyOf), { move: found } = register(greyA, greyB);
  const known = tiles(moved(greyA, STILL), greyB).most >= FEWEST, { most, alike } = tiles(moved(greyA, found), greyB);
  const far = Math.hypot(found.x, found.y) + Math.max(Math.abs(found.turn), Math.abs(found.scale - 1)) / 2;
  const move = known && far > MOVED ? found : STILL;
  const near = moved(a, move), { gain, light } = inLightOf(near, b), darker = Math.abs(gain - 1) > BRIGHTER;
  const { seen, ...shown } = moved(room, move), corrected = darker ? light(shown, scene) : shown;
  const filled = (plane, other) => plane.map((value, i) => (seen[i] ? value : other[i])); // else both are equal
  return {
    room: { ...corrected, planes: corrected.planes.map((plane, c) => filled(plane, scene.planes[c])) }, seen, gain,
    shift: Math.hypot(move.x, move.y), turn: move.turn * 180 / Math.PI, scale: move.scale,
    alike: !known || (far < FARTHEST && alike >= Math.max(FEWEST, LEAST_ALIKE * most)),
    swapped: swapped(light(near, b), b),
  };
}

const percent = (share) => `${Math.max(1, 100 * Math.abs(share)).toFixed(0)} %`;

// What is wrong with a pair, and what to do; empty where nothing is.
export function fault({ alike, swapped }) {
  if (!alike) return "These do not seem to be one view: take both from the same place, without turning the camera.";
  return swapped > 1.2 ? "The two pictures seem to be swapped: the cat is in the first one." : "";
}

// What was corrected; empty where nothing was.
export function corrections({ shift, turn, scale, gain, seen }) {
  const how = [
    shift > MOVED && `moved by about ${percent(shift)} of the picture`,
    Math.abs(turn) > 0.25 && `turned by ${Math.abs(turn).toFixed(1)}°`,
    Math.abs(scale - 1) > MOVED && `came ${percent(scale - 1)} ${scale < 1 ? "nearer" : "farther away"}`,
  ].filter(Boolean);
  const missing = 1 - seen.reduce((sum, inside) => sum + inside, 0) / seen.length;
  const darker = gain < 1 ? "picture with the cat" : "room", by = percent(1 - Math.min(gain, 1 / gain));
  return [
    how.length && `The camera ${how.join(", ")}: corrected.`,
    missing > 0.005 && `No cat is looked for in the ${percent(missing)} that the picture of the room misses.`,
    Math.abs(gain - 1) > BRIGHTER && `The ${darker} is darker, by ${by}: corrected.`,
  ].filter(Boolean).join(" ");
}
