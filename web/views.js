// Converts results to DOM elements: one function for each kind.

import { element } from "./panel.js";
import { text, translated } from "./texts.js";

// Measures shown as bars, with the value of a full bar, and the limits of the defects, which are
// those of hummingbird_core/vqa/defects.py.
const MEASURES = [
  { name: "overall", most: 100 },
  { name: "technical", most: 100 },
  { name: "aesthetic", most: 100 },
  { name: "agreement", most: 1 },
  { name: "motion_smoothness", most: 1, atLeast: 0.7 },
  { name: "flicker", most: 0.02, atMost: 0.006 },
  { name: "blur", most: 1, atMost: 0.5 },
  { name: "blockiness", most: 1, atMost: 0.9 },
];

/** Return the enhanced prompt, a bar of the used text window, and the remarks of the report. */
export function promptView({ prompt, tokens, room }, report) {
  const remarks = translated(report.replace(prompt, "").trim());
  const label = text("tokens", { tokens, room });
  return element(
    "div",
    "hummingbird-prompt",
    element("div", "hummingbird-text", prompt),
    bar(tokens / room, tokens > room ? "bad" : "plain", label),
    element("div", "hummingbird-remark", remarks),
  );
}

/** Return bars and defects of each video, best first. */
export function scoresView(videos) {
  return element("div", "hummingbird-scores", ...videos.map(scoreView));
}

function scoreView({ seed, measures, faults }) {
  const title = seed === undefined ? "" : text("seed", { seed }); // VQA Score has no seed
  const known = MEASURES.filter(({ name }) => name in measures);
  return element(
    "div",
    "hummingbird-score",
    element("div", "hummingbird-title", title),
    ...known.map((measure) => measureRow(measure, measures[measure.name])),
    faultLine(faults),
  );
}

function faultLine(faults) {
  if (!faults.length) return element("div", "hummingbird-remark", text("no_faults"));
  const names = faults.map((name) => text(`fault_${name}`));
  return element("div", "hummingbird-faults", names.join(", "));
}

function measureRow({ name, most, atLeast = -Infinity, atMost = Infinity }, value) {
  const label = text(name);
  const kind = atLeast <= value && value <= atMost ? "good" : "bad";
  return element(
    "div",
    "hummingbird-row",
    element("span", "hummingbird-label", label),
    bar(value / most, kind, label),
    element("span", "hummingbird-value", String(Number(value.toPrecision(3)))),
  );
}

/** Return a report with a button that copies it. */
export function textView(report) {
  const shown = translated(report);
  const button = element("button", "hummingbird-copy", text("copy"));
  // Pages from other computers have no clipboard; there, the text can still be selected.
  button.hidden = !navigator.clipboard;
  button.onclick = async () => {
    await navigator.clipboard.writeText(shown);
    button.textContent = text("copied");
  };
  return element("div", "hummingbird-report", element("pre", "hummingbird-text", shown), button);
}

/** Return the terms that a user agrees to. */
export function termsView(terms) {
  return element("div", "hummingbird-terms", element("div", "hummingbird-remark", terms));
}

/** Return the progress of a download. */
export function progressView(done, total) {
  const label = text("megabytes", { done, total });
  return element(
    "div",
    "hummingbird-progress",
    bar(done / total, "plain", label),
    element("div", "hummingbird-remark", label),
  );
}

/** Return the video sampled so far as an animated image, which browsers play automatically. */
export function previewView({ webp, width, height }) {
  const picture = element("img", "hummingbird-preview");
  picture.src = `data:image/webp;base64,${webp}`;
  picture.alt = text("preview");
  Object.assign(picture, { width, height }); // reserves the space before the image is decoded
  return element("div", "hummingbird-moving", picture);
}

/** Return a bar filled to `fraction`; kind: good, bad or plain. */
function bar(fraction, kind, label) {
  const percent = 100 * Math.max(0, Math.min(1, fraction));
  const fill = element("div", `hummingbird-fill hummingbird-${kind}`);
  fill.style.width = `${percent}%`;
  const outline = element("div", "hummingbird-bar", fill);
  outline.role = "meter";
  outline.title = outline.ariaLabel = label;
  outline.ariaValueNow = String(Math.round(percent));
  return outline;
}
