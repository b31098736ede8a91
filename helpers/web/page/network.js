// The network of this page: loaded once, then run on pairs of pictures.

import { Told, address, bytes, json, unpacked } from "./files.js";
import { predict } from "./maths.js";

// Everything that `predictedBy` needs: {card, session, ort}.
export async function load() {
  if (typeof WebAssembly === "undefined" || typeof DecompressionStream === "undefined") {
    throw new Told("This browser cannot run the network (it has no WebAssembly): take a current Chrome, Edge, Firefox " +
      "or Safari.");
  }
  const card = await json("card.json");
  const [ort, runtime, model] = await Promise.all([
    address("ort.wasm.bundle.min.mjs").then((where) => import(where)),
    bytes("ort-wasm-simd-threaded.wasm.gz").then(unpacked),
    bytes("model.onnx"),
  ]).catch((error) => {
    if (error instanceof Told) throw error;
    throw new Told("A file of the runtime is missing or damaged: export the page again.");
  });
  if (model.length !== card.bytes) {
    throw new Told(`The network's file model.onnx has ${model.length} bytes instead of ${card.bytes}: ` +
      "export the page again.");
  }
  Object.assign(ort.env.wasm, { wasmBinary: runtime, numThreads: 1 });
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }).catch(() => {
    throw new Told("The network's file model.onnx is damaged: export the page again.");
  });
  return { card, session, ort };
}

// {mask, depth} of two pictures of one size, and the milliseconds that it took.
export async function predictedBy({ card, session, ort }, room, scene) {
  const start = performance.now();
  const tensor = ({ values, shape }) => new ort.Tensor("float32", values, shape);
  const run = async (a, b) => {
    const maps = await session.run({ bg: tensor(a), bg_fg: tensor(b) });
    return { mask: maps.mask.data, depth: maps.depth.data };
  };
  const maps = await predict(run, room, scene, card.trained_size, card.depth_size);
  return { ...maps, milliseconds: performance.now() - start };
}
