// Run by test_modules.py: the page's modules against what Python has written into the folder CASES.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";

const folder = process.env.CASES;
const load = (name) => import(pathToFileURL(join(folder, "page", name)));
const cases = JSON.parse(readFileSync(join(folder, "cases.json")));
const { fitted, pictureOf, predict, resize, round } = await load("maths.js");
const { align, corrections, fault } = await load("align.js");
const { moved } = await load("register.js");
const { unprojected } = await load("cloud.js");
const { header } = await load("pictures.js");
const { facts } = await load("draw.js");

function near(found, expected, tolerance, words) {
  assert.equal(found.length, expected.length, words);
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
  assert.ok(worst <= tolerance, `${words}: differs by ${worst}`); // NaN is not at most anything
}

// The same network as the Python test's.
async function run({ values, shape: [, , h, w] }, scene) {
  const whole = (9 * values.subarray(0, h * w).reduce((a, b) => a + b, 0)) / (h * w);
  const mask = new Float32Array(h * w), depth = new Float32Array(h * w), sigmoid = (x) => 1 / (1 + Math.exp(-x));
  for (let i = 0; i < h * w; i++) {
    const [red, green, blue] = [0, 1, 2].map((channel) => scene.values[channel * h * w + i] - values[channel * h * w + i]);
    mask[i] = sigmoid(4 * (red + 2 * green - blue));
    depth[i] = sigmoid(3 * values[i] - 6 + whole + (i % w) / w - Math.floor(i / w) / h);
  }
  return { mask, depth };
}

const image = ({ width, height }, rgb) => {
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  rgb.forEach((value, i) => { data[4 * Math.floor(i / 3) + (i % 3)] = value; });
  return { width, height, data };
};

for (const given of cases.pairs) {
  const { width, height, trained_size, depth_size } = given;
  test(`predicts as Python does: ${width} x ${height}, trained at ${trained_size}, depth at ${depth_size}`, async () => {
    const [room, scene] = [given.bg, given.bg_fg].map((rgb) => pictureOf(image(given, rgb)));
    const maps = await predict(run, room, scene, trained_size, depth_size);
    near(maps.mask, given.mask, 1e-5, "mask");
    near(maps.depth, given.depth, 1e-5, "depth");
  });
}

test("scales as torch does with antialias", () => {
  for (const { from, to, plane, expected } of cases.scaled) {
    near(resize(Float32Array.from(plane), from[1], from[0], to[1], to[0]), expected, 1e-6, `${from} to ${to}`);
  }
});

test("rounds as Python does", () => {
  cases.rounded.forEach(([value, expected]) => assert.equal(round(value), expected));
  cases.fitted.forEach(([width, height, size, expected]) => assert.deepEqual(fitted({ width, height }, size), expected));
});

test("reads what a file's header says, and sees that its end is missing", () => {
  for (const { name, bytes, size } of cases.files) {
    const file = Uint8Array.from(bytes), found = header(file);
    assert.deepEqual([found.width, found.height, found.whole], [...size, true], name);
    for (let n = 0; n < file.length - 12; n++) assert.ok(!header(file.subarray(0, n))?.whole, `${name} cut at ${n}`);
  }
  for (const { name, bytes, size } of cases.ends) { // a picture that more follows, and a kind whose end nobody looks for
    const found = header(Uint8Array.from(bytes));
    assert.deepEqual([found.width, found.height, found.whole], [...size, true], name);
  }
  assert.equal(header(new TextEncoder().encode("This is no picture at all, but a sentence.")), null);
});

test("says whether two pictures line up, which is darker and whether they are swapped", () => {
  const wrong = cases.aligned.filter(({ words, ...given }) => {
    const found = align(pictureOf(image(given, given.bg)), pictureOf(image(given, given.bg_fg)));
    found.words = fault(found) || corrections(found);
    return words ? !found.words.includes(words) : found.words !== "";
  });
  assert.equal(cases.aligned.length, 42);
  assert.ok(wrong.length <= 0.05 * 42, wrong.map(({ words }) => words || "nothing").join());
});

test("moves a picture as torch's grid_sample does", () => {
  const { plane, move, expected, seen, ...size } = cases.sampled;
  const found = moved({ ...size, planes: [Float32Array.from(plane)] }, move);
  near(found.planes[0], expected, 1e-5, "moved");
  assert.deepEqual([...found.seen], seen);
});

test("finds how a hand moved the camera and what the exposure changed, and corrects both as Python does", () => {
  for (const given of cases.held) {
    const found = align(pictureOf(image(given, given.bg)), pictureOf(image(given, given.bg_fg)));
    const [x, y, turn, scale] = given.movement, far = [];
    near([found.shift, found.scale, found.gain], [Math.hypot(x, y), scale, given.gain], 0.003, "shift, scale and light");
    near([found.turn], [turn], 0.1, "degrees");
    found.room.planes.forEach((plane, c) => plane.forEach((value, i) => {
      if (found.seen[i] && given.seen[i]) far.push(Math.abs(value - given.room[3 * i + c] / 255));
    }));
    const mean = far.reduce((sum, value) => sum + value, 0) / far.length;
    assert.ok(found.alike && mean < 0.006, `differs from Python by ${mean}`);
  }
});

test("takes no picture of one colour for the room, or for the scene", () => {
  const [given] = cases.aligned, scene = pictureOf(image(given, given.bg_fg));
  for (const value of [0.04, 0.2, 0.5, 0.8, 1]) {
    const plain = { ...scene, planes: scene.planes.map((plane) => new Float32Array(plane.length).fill(value)) };
    for (const pair of [[plain, scene], [scene, plain]]) assert.ok(!align(...pair).alike, `of ${value}`);
  }
});

test("leaves pictures alone that show nothing by which they could be moved", () => {
  for (const [width, height] of [[64, 48], [200, 3], [16, 1000]]) {
    const flat = { width, height, planes: [0.4, 0.5, 0.6].map((value) => new Float32Array(width * height).fill(value)) };
    const found = align(flat, flat);
    assert.deepEqual([fault(found), corrections(found), found.room.planes], ["", "", flat.planes]);
  }
});

test("places pixels in space as Python does", () => {
  const { depth, width, height, expected } = cases.cloud;
  near(unprojected(Float32Array.from(depth), width, height), expected, 1e-5, "points");
});

test("counts the cat", () => {
  assert.deepEqual(facts([0.2, 0.5, 0.9, 0.4], [1, 0.25, 0.75, 1], 0.5), { share: 0.5, depth: 0.5 });
});
