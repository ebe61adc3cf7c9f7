// From data to DOM elements: one function for each kind of result.

import { element } from "./panel.js";
import { text } from "./texts.js";

// Measures worth a bar, the most that each can be, and which end of it is good.
const MEASURES = [
  { name: "overall", most: 100, good: "high" },
  { name: "technical", most: 100, good: "high" },
  { name: "aesthetic", most: 100, good: "high" },
  { name: "motion_smoothness", most: 1, good: "high" },
  { name: "flicker", most: 0.02, good: "low" },
  { name: "blur", most: 1, good: "low" },
  { name: "blockiness", most: 1, good: "low" },
];

/** The enhanced prompt, how much of the text window it fills, and the remarks of the report. */
export function promptView({ prompt, tokens, room }, report) {
  const remarks = report.replace(prompt, "").trim();
  const label = text("tokens", { tokens, room });
  return element(
    "div",
    "hummingbird-prompt",
    element("div", "hummingbird-text", prompt),
    bar(tokens / room, tokens > room ? "bad" : "plain", label),
    element("div", "hummingbird-remark", remarks),
  );
}

/** Bars and faults of each video, the best first. */
export function scoresView(videos) {
  return element("div", "hummingbird-scores", ...videos.map(scoreView));
}

function scoreView({ seed, measures, faults }) {
  const title = seed === undefined ? "" : text("seed", { seed }); // VQA Score knows no seed
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

function measureRow({ name, most, good }, value) {
  const label = text(name);
  return element(
    "div",
    "hummingbird-row",
    element("span", "hummingbird-label", label),
    bar(value / most, good, label),
    element("span", "hummingbird-value", String(Number(value.toPrecision(3)))),
  );
}

/** A report, with a button that copies it. */
export function textView(report) {
  const button = element("button", "hummingbird-copy", text("copy"));
  // Browsers give no clipboard to pages from other computers; the text can be selected there.
  button.hidden = !navigator.clipboard;
  button.onclick = async () => {
    await navigator.clipboard.writeText(report);
    button.textContent = text("copied");
  };
  return element("div", "hummingbird-report", element("pre", "hummingbird-text", report), button);
}

/** What a user agrees to. */
export function termsView(terms) {
  return element("div", "hummingbird-terms", element("div", "hummingbird-remark", terms));
}

/** How far a download has come. */
export function progressView(done, total) {
  const label = text("megabytes", { done, total });
  return element(
    "div",
    "hummingbird-progress",
    bar(done / total, "plain", label),
    element("div", "hummingbird-remark", label),
  );
}

/** A video in the making, as an animated picture: browsers play it by themselves. */
export function previewView({ webp, width, height }) {
  const picture = element("img", "hummingbird-preview");
  picture.src = `data:image/webp;base64,${webp}`;
  picture.alt = text("preview");
  Object.assign(picture, { width, height }); // room for it before it is read
  return element("div", "hummingbird-moving", picture);
}

/** A bar that is filled to `fraction`; kind: high or low (which end is good), plain or bad. */
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
