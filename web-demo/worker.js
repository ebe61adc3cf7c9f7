/* Computes videos beside the page, so that the page stays responsive.

   Gets {prompt, seed, steps, guidance, fps}; posts {model} once loaded, then {progress}, and {video}
   or {error} for each request. */

import { loadPipeline } from "./pipeline.js";
import * as ort from "./onnxruntime/ort.wasm.min.mjs";

const MODEL = new URL("model/", import.meta.url).href;
const RUNTIME = new URL("onnxruntime/ort-wasm-simd-threaded", import.meta.url).href;

async function load() {
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  ort.env.wasm.wasmPaths = { mjs: `${RUNTIME}.mjs` };
  ort.env.wasm.wasmBinary = await unpack(`${RUNTIME}.wasm.gzip`);
  ort.env.logLevel = "error";
  return loadPipeline(MODEL, ort);
}

async function unpack(address) {
  const { body } = await fetch(address);
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function answer(work) {
  try {
    postMessage(await work());
  } catch (error) {
    postMessage({ error: error.message });
  }
}

const loaded = load();

answer(async () => {
  const { settings, tokenizer } = await loaded;
  return { model: { settings, words: tokenizer.words } };
});

onmessage = ({ data }) =>
  answer(async () => {
    const pipeline = await loaded;
    const start = performance.now();
    const video = await pipeline.generate(data, (progress) => postMessage({ progress }));
    return { video: { ...video, seconds: (performance.now() - start) / 1000 } };
  });
