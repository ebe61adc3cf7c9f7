/* The noise of PyTorch's CPU generator: a seed gives the numbers of `torch.randn`, up to 5e-7.

   A Mersenne Twister (MT19937) is seeded with the lower 32 bits of the seed. Normal numbers come
   from the Box-Muller transform, see hummingbird_core/runtime/noise.py. */

const WORDS = 624; // of the twister's state
const MIDDLE = 397;
const BLOCK = 16; // numbers that PyTorch transforms at a time, the first 8 with the last 8
const MAX_SEED = 2n ** 64n - 1n;

class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(WORDS);
    this.state[0] = seed;
    for (let i = 1; i < WORDS; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.next = WORDS; // the first call makes new words
  }

  /** Return 32 random bits. */
  bits() {
    if (this.next === WORDS) this.renew();
    let word = this.state[this.next++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  renew() {
    const state = this.state;
    for (let i = 0; i < WORDS; i++) {
      const both = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff);
      const odd = both & 1 ? 0x9908b0df : 0;
      state[i] = state[(i + MIDDLE) % WORDS] ^ (both >>> 1) ^ odd;
    }
    this.next = 0;
  }
}

/** A stream of N(0, 1) numbers, those of `torch.Generator().manual_seed(seed)`. */
export class NormalGenerator {
  /** @param {bigint} seed - of which the lower 32 bits count */
  constructor(seed) {
    this.twister = new MersenneTwister(Number(seed & 0xffffffffn));
  }

  /** Return what `torch.randn(count)` does; at least 16 numbers. */
  normal(count) {
    if (count < BLOCK) throw new Error(`got ${count} random numbers, expected at least ${BLOCK}`);
    const numbers = this.uniform(count);
    for (let start = 0; start + BLOCK <= count; start += BLOCK) boxMuller(numbers, start);
    if (count % BLOCK) {
      // PyTorch fills a last block that reaches back over the one before, from new numbers.
      numbers.set(this.uniform(BLOCK), count - BLOCK);
      boxMuller(numbers, count - BLOCK);
    }
    return numbers;
  }

  /** Return numbers in [0, 1): 24 bits each, as many as a float32 holds. */
  uniform(count) {
    return Float32Array.from({ length: count }, () => (this.twister.bits() & 0xffffff) / 2 ** 24);
  }
}

/** Turn a block of uniform numbers into normal ones, in place and rounded as in float32. */
function boxMuller(numbers, start) {
  const half = BLOCK / 2;
  for (let i = start; i < start + half; i++) {
    const log = Math.fround(Math.log(Math.fround(1 - numbers[i])));
    const radius = Math.fround(Math.sqrt(-2 * log));
    const angle = Math.fround(Math.fround(2 * Math.PI) * numbers[i + half]);
    numbers[i] = radius * Math.fround(Math.cos(angle));
    numbers[i + half] = radius * Math.fround(Math.sin(angle));
  }
}

/** Return a seed as written in decimal; throw unless it is 0 to 2^64 - 1. */
export function parseSeed(text) {
  if (!/^\d{1,20}$/.test(text.trim()) || BigInt(text) > MAX_SEED)
    throw new Error(`got seed "${text}", expected a whole number from 0 to 2^64 - 1: change it`);
  return BigInt(text);
}

/** Return the starting noise of a video. */
export function initialNoise(count, seed) {
  return new NormalGenerator(seed).normal(count);
}

/** Return the generator of the noise that steps add. */
export async function stepNoises(seed) {
  // seed' = first 8 bytes of SHA-256("step noise SEED"), little-endian
  const text = new TextEncoder().encode(`step noise ${seed}`);
  const digest = new DataView(await crypto.subtle.digest("SHA-256", text));
  return new NormalGenerator(digest.getBigUint64(0, true));
}
