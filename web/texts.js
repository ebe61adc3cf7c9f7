// Texts of this extension in the user's language, from locales/LANGUAGE/*.json.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const texts = {};
const nodes = {};
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
  Object.assign(nodes, all.en?.nodeDefs, all[language]?.nodeDefs);
}

/** Return a text with its {placeholders} filled in, or the name if it has no text. */
export function text(name, values = {}) {
  const template = texts[name] ?? name;
  return template.replace(/{(\w+)}/g, (placeholder, key) => values[key] ?? placeholder);
}

/** Return the description of a node. */
export function description(nodeType) {
  return nodes[nodeType]?.description ?? "";
}
