// Texts of this extension in the user's language, from locales/LANGUAGE/*.json.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const texts = {};
const nodes = {};
// Lines of the server's reports, which are in English, and the same in the user's language.
const english = {};
const reports = {};
let reading = null;

/** Read the texts once, in the user's language or else in English. */
export function loadTexts() {
  reading ??= read();
  return reading;
}

async function read() {
  const all = await (await api.fetchApi("/i18n")).json();
  const language = app.extensionManager.setting.get("Comfy.Locale");
  Object.assign(texts, all.en?.hummingbird, all[language]?.hummingbird);
  Object.assign(english, all.en?.hummingbird_reports);
  Object.assign(reports, english, all[language]?.hummingbird_reports);
  Object.assign(nodes, all.en?.nodeDefs, all[language]?.nodeDefs);
}

/** Return a text with its {placeholders} filled in, or the name if it has no text. */
export function text(name, values = {}) {
  return filled(texts[name] ?? name, values);
}

/** Return a report of the server with the lines that are known in the user's language. */
export function translated(report) {
  return report.split("\n").map(translatedLine).join("\n");
}

function translatedLine(line) {
  for (const [name, template] of Object.entries(english)) {
    const found = line.match(patternOf(template));
    if (found) return filled(reports[name], found.groups);
  }
  return line;
}

/** Return the pattern of the lines that a template makes. */
function patternOf(template) {
  const escaped = template.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/{(\w+)}/g, "(?<$1>.+)")}$`);
}

function filled(template, values = {}) {
  return template.replace(/{(\w+)}/g, (placeholder, key) => values[key] ?? placeholder);
}

/** Return the description of a node. */
export function description(nodeType) {
  return nodes[nodeType]?.description ?? "";
}
