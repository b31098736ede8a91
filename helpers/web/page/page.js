// The page: what each control does, and the one sentence that says how things stand.

import { align, corrections, fault } from "./align.js";
import { photograph } from "./camera.js";
import { cloudPicture, turnable, unprojected } from "./cloud.js";
import { cutOut, depthPicture, facts, onBackground, overlay, show } from "./draw.js";
import { Told, bytes } from "./files.js";
import { pictureOf } from "./maths.js";
import { load, predictedBy } from "./network.js";
import { read } from "./pictures.js";

const SLOTS = ["room", "scene"];
const VIEWS = {
  mask: "the picture with the cat, coloured where the network sees cat",
  depth: "depth in colours, from near, yellow, to far, dark violet",
  cutout: "the cat cut out of its picture",
};
const LEAST = 0.001; // of the picture, from which there is a cat
const CLOUD = 640; // pixels, the width of the picture of the points
const $ = (id) => document.getElementById(id);
const setting = (name) => document.querySelector(`input[name=${name}]:checked`).value;

// What the page knows; tests read it.
export const state = { network: null, pictures: {}, maps: null, background: null };

function say(sentence, kind = "") {
  $("status").textContent = sentence;
  $("status").className = kind;
}

// Runs what a control asks for; the fault of a picture, camera or file becomes a sentence.
async function tried(work) {
  try {
    await work();
  } catch (error) {
    say(error instanceof Told ? error.message : `Something went wrong (${error.message}): reload the page.`, "bad");
    if (!(error instanceof Told)) console.error(error);
  }
}

async function take(slot, image) {
  state.pictures[slot] = image;
  show($(slot), image);
  await look();
}

async function look() {
  const [room, scene] = SLOTS.map((slot) => state.pictures[slot]);
  state.maps = null;
  $("result").hidden = true;
  $("swap").disabled = !(room && scene);
  if (!room || !scene) {
    say(`Now the ${room ? "picture with the cat" : scene ? "room without the cat" : "two pictures"}.`);
    return;
  }
  if (room.width !== scene.width || room.height !== scene.height) {
    throw new Told(`The room is ${room.width} × ${room.height} pixels, the picture with the cat ` +
      `${scene.width} × ${scene.height}: take both with the same camera, held the same way.`);
  }
  say("The network looks …");
  const network = await started;
  await new Promise((done) => setTimeout(done)); // the sentence is drawn first
  const begin = performance.now();
  const pair = [room, scene].map(pictureOf), aligned = align(...pair), wrong = fault(aligned);
  const aligning = performance.now() - begin;
  if (!aligned.alike) throw new Told(wrong);
  const maps = await predictedBy(network, aligned.room, pair[1]);
  if (room !== state.pictures.room || scene !== state.pictures.scene) return; // others were chosen meanwhile
  state.maps = { ...maps, mask: maps.mask.map((value, i) => value * aligned.seen[i]) };
  $("result").hidden = false;
  draw();
  const times = `Done: aligned in ${aligning.toFixed(0)} ms, predicted in ${maps.milliseconds.toFixed(0)} ms.`;
  const none = facts(state.maps.mask, maps.depth, 0.5).share < LEAST;
  const doubt = wrong || (none && "No cat was found: neither picture shows one, or both do.");
  const words = [doubt, corrections(aligned), times].filter(Boolean);
  say(words.join(" "), doubt ? "doubt" : "good");
}

function draw() {
  const { maps, pictures: { scene } } = state, view = setting("view"), threshold = Number($("threshold").value);
  if (!maps) return;
  const { share, depth } = facts(maps.mask, maps.depth, threshold);
  show($("before"), scene);
  if (view === "cloud") drawCloud();
  if (view === "mask") show($("after"), overlay(scene, maps.mask, threshold));
  if (view === "depth") show($("after"), depthPicture(scene, maps.depth, state.network.card.colours));
  if (view === "cutout") onBackground($("after"), cutOut(scene, maps.mask, threshold), background());
  $("after").setAttribute("aria-label", VIEWS[view] ?? "");
  $("stage").hidden = $("for-threshold").hidden = view === "cloud";
  $("for-cloud").hidden = view !== "cloud";
  $("legend").hidden = view !== "depth";
  $("for-cutout").hidden = view !== "cutout";
  $("value").textContent = threshold.toFixed(2);
  const far = share ? `, at a mean depth of ${depth.toFixed(2)} (0 nearest, 1 farthest)` : "";
  $("facts").textContent = `The cat covers ${(100 * share).toFixed(1)} % of the picture${far}.`;
}

function drawCloud() {
  const { maps, pictures: { scene } } = state;
  const [turn, tilt, zoom] = ["turn", "tilt", "zoom"].map((name) => Number($(name).value));
  maps.points ??= unprojected(maps.depth, scene.width, scene.height);
  show($("cloud"), cloudPicture(scene, maps.points, CLOUD, { turn, tilt, zoom }));
  const words = { turn: `${turn.toFixed(0)}°`, tilt: `${tilt.toFixed(0)}°`, zoom: `${zoom.toFixed(1)} ×` };
  for (const name in words) {
    $(name).setAttribute("aria-valuetext", words[name]);
    $(`${name}-value`).textContent = words[name];
  }
  $("cloud").setAttribute("aria-label", `the scene as points in space: turn ${words.turn}, tilt ${words.tilt}`);
}

function background() {
  const kind = $("background").value;
  $("colour").parentElement.hidden = kind !== "colour";
  $("backdrop").parentElement.hidden = kind !== "picture";
  return { colour: $("colour").value, picture: state.background }[kind] ?? null;
}

function legend(colours) {
  const stops = colours.filter((_, i) => i % 15 === 0).map((rgb) => `rgb(${rgb})`);
  $("legend").querySelector("i").style.background = `linear-gradient(90deg, ${stops})`;
}

function download() {
  const link = Object.assign(document.createElement("a"), { download: `${setting("view")}.png` });
  $(setting("view") === "cloud" ? "cloud" : "after").toBlob((blob) => {
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

function divide() {
  $("stage").style.setProperty("--at", `${$("divider").value}%`);
  $("divider").setAttribute("aria-valuetext", `${$("divider").value} % photograph`);
}

const example = (slot) => bytes(`example-${slot}.png`).then((png) => read(new Blob([png], { type: "image/png" })));

const latest = {}; // the file that was chosen last for each slot: a large one before it may take longer
let asking = false; // whether the camera is in use: a second click would interrupt it while it starts
for (const slot of SLOTS) {
  const box = $(slot).closest("section"), input = box.querySelector("input");
  const chosen = (files) => files[0] && tried(async () => {
    const file = (latest[slot] = files[0]), image = await read(file);
    if (file === latest[slot]) await take(slot, image);
  });
  input.onchange = () => chosen(input.files)?.then(() => (input.value = "")); // the same file can be chosen again
  box.ondrop = (event) => chosen(event.dataTransfer.files);
  box.querySelector("button").onclick = () => asking || tried(async () => {
    asking = true;
    const image = await photograph($("camera"), state.pictures[slot === "room" ? "scene" : "room"])
      .finally(() => (asking = false));
    if (image) await take(slot, image);
  });
}
// A picture that is dropped beside the two boxes would else be shown instead of this page.
document.ondragover = document.ondrop = (event) => event.preventDefault();
$("example").onclick = () => tried(async () => {
  const [room, scene] = await Promise.all(SLOTS.map(example));
  state.pictures = {};
  await take("room", room);
  await take("scene", scene);
});
$("swap").onclick = () => tried(async () => {
  const { room, scene } = state.pictures;
  state.pictures = { room: scene, scene: room };
  SLOTS.forEach((slot) => show($(slot), state.pictures[slot]));
  await look();
});
$("backdrop").onchange = ({ target }) => target.files[0] && tried(async () => {
  state.background = await read(target.files[0]);
  draw();
});
$("result").oninput = ({ target }) => (target === $("divider") ? divide() : draw());
turnable($("cloud"), $("turn"), $("tilt"), drawCloud);
$("download").onclick = download;
divide();

const started = load().then((network) => {
  state.network = network;
  legend(network.card.colours);
  if (Object.keys(state.pictures).length < 2) {
    say(`The network ${network.card.name} is ready: choose two pictures, or try the example.`);
  }
  return network;
});
tried(() => started);

// Not in a notebook's frame: its address is another one after every start, and each would keep all files for good.
if (navigator.serviceWorker && window === window.top && !document.getElementById("file:card.json")) {
  navigator.serviceWorker.register("sw.js").catch(() => {}); // without it the page works, but not offline
}
