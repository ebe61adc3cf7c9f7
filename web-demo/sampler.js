/* From noise to latents by multistep consistency, as hummingbird_core/runtime/sampler.py.

   x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) eps, with Stable Diffusion's 1000 timesteps. */

const TIMESTEPS = 1000;
const GRID = 50; // timesteps that consistency distillation trained on, thus the most steps
const [BETA_START, BETA_END] = [0.00085, 0.012];

/** Return sqrt(a_t) and sqrt(1 - a_t) of each timestep t. */
function noiseSchedule() {
  // beta_t = (sqrt(b_0) + t / 999 (sqrt(b_999) - sqrt(b_0)))^2, a_t = (1 - b_0) ... (1 - b_t)
  const [first, last] = [Math.sqrt(BETA_START), Math.sqrt(BETA_END)];
  const alpha = new Float32Array(TIMESTEPS);
  const sigma = new Float32Array(TIMESTEPS);
  let product = 1;
  for (let t = 0; t < TIMESTEPS; t++) {
    product *= 1 - (first + (t / (TIMESTEPS - 1)) * (last - first)) ** 2;
    alpha[t] = Math.sqrt(product);
    sigma[t] = Math.sqrt(1 - product);
  }
  return { alpha, sigma };
}

const { alpha: ALPHA, sigma: SIGMA } = noiseSchedule();

/** Return the timesteps of 1 to 50 steps, falling; for 4 steps: 999 759 519 279. */
export function consistencyGrid(steps) {
  if (!Number.isInteger(steps) || steps < 1 || steps > GRID)
    throw new Error(`got ${steps} steps, expected 1 to ${GRID}: choose one of these`);
  const [spacing, stride] = [TIMESTEPS / GRID, Math.floor(GRID / steps)];
  return Array.from({ length: steps }, (_, i) => TIMESTEPS - 1 - i * stride * spacing);
}

/** Embed a guidance scale w as sinusoids of 1000 w (arXiv 2310.04378), rounded as in training. */
export function guidanceScaleEmbedding(w, dim) {
  const half = Math.floor(dim / 2);
  const rate = Math.fround(-Math.log(10000) / (half - 1)); // f_i = 10000^(-i / (half - 1))
  const embedding = new Float32Array(dim);
  for (let i = 0; i < half; i++) {
    const frequency = Math.fround(Math.exp(Math.fround(i * rate)));
    const angle = Math.fround(Math.fround(1000 * Math.fround(w)) * frequency);
    embedding[i] = Math.sin(angle);
    embedding[half + i] = Math.cos(angle);
  }
  return embedding;
}

/** Return the denoised latents f(x, t) = c_skip x + c_out x_0 (arXiv 2303.01469). */
function consistencyFunction(sample, eps, t) {
  const u = 10 * t;
  const [skip, out] = [0.25 / (u ** 2 + 0.25), u / Math.sqrt(u ** 2 + 0.25)];
  return sample.map((x, i) => skip * x + (out * (x - SIGMA[t] * eps[i])) / ALPHA[t]);
}

/**
 * Sample by multistep consistency (arXiv 2303.01469, algorithm 1).
 * @param predictNoise - async (latents, timestep) -> noise, guidance included
 * @param {Float32Array} latents - starting noise
 * @param noises - generator of fresh noise for every step but the last
 */
export async function sampleLcm(predictNoise, latents, noises, steps) {
  const timesteps = consistencyGrid(steps);
  for (const [index, t] of timesteps.entries()) {
    const denoised = consistencyFunction(latents, await predictNoise(latents, t), t);
    if (index === steps - 1) return denoised;
    // x_next = sqrt(a_next) f(x_t, t) + sqrt(1 - a_next) noise
    const [next, noise] = [timesteps[index + 1], noises.normal(latents.length)];
    latents = denoised.map((x, i) => ALPHA[next] * x + SIGMA[next] * noise[i]);
  }
}
