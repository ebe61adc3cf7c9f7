import { encodeGif } from "./gif.js";
import { parseSeed } from "./noise.js";

const GUIDANCE = 7.5; // as `hummingbird generate` by default
const FPS = 8;
// An empty function with one SIMD instruction, for browsers that would fail without saying why.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0];
SIMD.push(65, 0, 253, 15, 253, 98, 11);

const $ = (id) => document.getElementById(id);

/** The video on the page: {frames, width, height, fps, notes, seconds}, or null. */
export let video = null;

/** Return why this browser can't run the page, in one line, or null. */
function reasonItCannotRun() {
  if (!isSecureContext) return "This page was opened by http: open it by https, or from localhost.";
  if (!window.WebAssembly?.validate(new Uint8Array(SIMD)))
    return "This browser lacks WebAssembly SIMD: use Chrome 91, Firefox 114, Safari 16.4 or newer.";
  if (!("DecompressionStream" in window))
    return "This browser lacks DecompressionStream: use Chrome 91, Firefox 114, Safari 16.4 or newer.";
  return null;
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

/** Keep the site for offline use; a browser may refuse, and the page works without. */
async function keepOffline() {
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready; // the worker then loads from what was kept
  } catch (error) {
    console.warn(`not kept for offline use: ${error.message}`);
  }
}

let isLoaded = false; // the model; without it no video can be made

function setBusy(isBusy) {
  for (const id of ["make", "another"]) $(id).disabled = isBusy || !isLoaded;
  $("progress").hidden = !isBusy;
}

function showModel({ settings, words }) {
  const { num_frames: frames, width, height } = settings;
  $("model").textContent = `${settings.model.model ?? "model"}, ${frames} frames of ${width}x${height}`;
  $("words").textContent = words.join(" ");
  say("Ready.");
}

function showVideo(made) {
  video = made;
  const canvas = $("video");
  [canvas.width, canvas.height] = [made.width, made.height];
  $("save").disabled = false;
  $("notes").textContent = made.notes.join(" ");
  say(`Made in ${made.seconds.toFixed(1)} s.`);
}

function play(time) {
  if (video) {
    const { frames, width, height, fps } = video;
    const frame = frames[Math.floor((time / 1000) * fps) % frames.length];
    $("video").getContext("2d").putImageData(new ImageData(frame, width, height), 0, 0);
  }
  requestAnimationFrame(play);
}

function receive({ data }) {
  if (data.progress) {
    $("progress").value = data.progress;
    return;
  }
  isLoaded ||= Boolean(data.model);
  setBusy(false);
  if (data.error) say(data.error, true);
  if (data.model) showModel(data.model);
  if (data.video) showVideo(data.video);
}

function ask(worker) {
  try {
    const seed = parseSeed($("seed").value);
    const [prompt, steps] = [$("prompt").value, Number($("steps").value)];
    setBusy(true);
    $("progress").value = 0;
    say("Computing.");
    worker.postMessage({ prompt, seed, steps, guidance: GUIDANCE, fps: FPS });
  } catch (error) {
    say(error.message, true);
  }
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(encodeGif(video));
  link.download = "hummingbird.gif";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // a phone may ask first
}

async function start() {
  const reason = reasonItCannotRun();
  if (reason) return say(reason, true);
  say("Loading, once; afterwards this page works offline.");
  await keepOffline();
  const worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = receive;
  worker.onerror = (event) => say(`The page's worker failed: ${event.message}`, true);
  $("form").onsubmit = (event) => {
    event.preventDefault();
    ask(worker);
  };
  $("another").onclick = () => {
    $("seed").value = Math.floor(Math.random() * 2 ** 32);
    ask(worker);
  };
  $("save").onclick = save;
  requestAnimationFrame(play);
}

start();
