/* Text to video with an exported model: the videos of hummingbird_core/runtime/pipeline.py. */

import { initialNoise, stepNoises } from "./noise.js";
import { guidanceScaleEmbedding, sampleLcm } from "./sampler.js";
import { WordTokenizer } from "./tokenizer.js";

const FORMAT = 1; // of settings.json
const MODELS = ["text", "unet", "decoder"];

/**
 * Load an exported model.
 * @param {string} folder - its address, with a slash at the end
 * @param ort - onnxruntime-web
 */
export async function loadPipeline(folder, ort) {
  const [settings, words] = await Promise.all(
    ["settings.json", "tokenizer.json"].map(async (name) => (await get(folder + name)).json())
  );
  checkSettings(settings);
  const tokenizer = new WordTokenizer(words);
  const models = {};
  for (const name of MODELS) {
    const bytes = await getFile(folder, `${name}.onnx`, settings.files);
    models[name] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  }
  return new Pipeline(settings, tokenizer, models, ort);
}

async function get(address) {
  const response = await fetch(address);
  if (!response.ok)
    throw new Error(`got ${response.status} for ${address}: the site is incomplete, make it again`);
  return response;
}

function checkSettings(settings) {
  if (settings.format !== FORMAT)
    throw new Error(`got a model of format ${settings.format}, expected ${FORMAT}: export it again`);
  if (settings.runtime !== "onnx" || !settings.guidance_dim)
    throw new Error(
      "got a teacher or an export for another runtime, expected a distilled model exported with " +
        "--to onnx: export one"
    );
}

async function getFile(folder, name, files) {
  const bytes = new Uint8Array(await (await get(folder + name)).arrayBuffer());
  if (bytes.length !== files[name]?.bytes)
    throw new Error(
      `got ${bytes.length} bytes of ${name}, expected ${files[name]?.bytes}: load the page again, or ` +
        "make the site again"
    );
  return bytes;
}

class Pipeline {
  constructor(settings, tokenizer, models, ort) {
    Object.assign(this, { settings, tokenizer, models, ort });
  }

  /**
   * Generate a video.
   * @param {object} video - prompt, seed (bigint), steps, guidance, fps
   * @param report - called with the share of the work that is done
   * @returns frames as RGBA, their width and height, and notes on the prompt
   */
  async generate({ prompt, seed, steps, guidance, fps }, report) {
    const { latent_shape: shape, guidance_dim: dim, width, height } = this.settings;
    const { ids, notes } = this.tokenizer.tokenize(prompt);
    const conditions = {
      encoder_hidden_states: await this.run("text", { ids: int64(this.ort, ids, [1, ids.length]) }),
      fps: new this.ort.Tensor("float32", [fps], [1]),
      timestep_cond: new this.ort.Tensor("float32", guidanceScaleEmbedding(guidance, dim), [1, dim]),
    };
    let done = 0;
    const predictNoise = async (latents, t) => {
      const sample = new this.ort.Tensor("float32", latents, shape);
      const timestep = int64(this.ort, [t], [1]);
      const eps = await this.run("unet", { sample, timestep, ...conditions });
      report(++done / (steps + 1)); // decoding counts as one more step
      return eps.data;
    };
    const noise = initialNoise(shape.reduce((a, b) => a * b), seed);
    const latents = await sampleLcm(predictNoise, noise, await stepNoises(seed), steps);
    return { frames: await this.decode(latents), width, height, fps, notes };
  }

  /** Decode latents [1, C, T, h, w] to frames, RGBA [H, W, 4] each. */
  async decode(latents) {
    const [, channels, count, h, w] = this.settings.latent_shape;
    const { decode_chunk_size: size, width, height } = this.settings;
    const frames = [];
    for (let start = 0; start < count; start += size) {
      const chunk = new Float32Array(size * channels * h * w);
      for (let n = 0; n < size; n++) {
        const frame = Math.min(start + n, count - 1); // the decoder takes no fewer than `size`
        for (let c = 0; c < channels; c++) {
          const from = (c * count + frame) * h * w; // [C, T, h, w] -> [N, C, h, w]
          chunk.set(latents.subarray(from, from + h * w), (n * channels + c) * h * w);
        }
      }
      const input = new this.ort.Tensor("float32", chunk, [size, channels, h, w]);
      const { data } = await this.run("decoder", { latents: input });
      for (let n = 0; n < size && start + n < count; n++)
        frames.push(toRgba(data.subarray(n * 3 * height * width), height * width));
    }
    return frames;
  }

  /** Call one model; inputs that its graph does not need are left out. */
  async run(name, inputs) {
    const model = this.models[name];
    const used = Object.fromEntries(model.inputNames.map((input) => [input, inputs[input]]));
    const output = (await model.run(used))[model.outputNames[0]];
    if (!output.data.every(Number.isFinite))
      throw new Error(`got NaN or infinite values from ${name}, expected finite ones: export again`);
    return output;
  }
}

function int64(ort, values, shape) {
  return new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
}

/** Convert an image [3, H, W] in -1..1 to RGBA of 8 bits. */
function toRgba(image, pixels) {
  const rgba = new Uint8ClampedArray(4 * pixels).fill(255);
  for (let i = 0; i < pixels; i++)
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = (image[c * pixels + i] + 1) * 127.5;
  return rgba; // the array rounds and clips
}
