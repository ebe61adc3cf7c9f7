// The words that this extension adds, from locales/LANGUAGE/main.json.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const texts = {};

/** Read the texts in the user's language, or else in English. */
export async function loadTexts() {
  const all = await (await api.fetchApi("/i18n")).json();
  const language = app.extensionManager.setting.get("Comfy.Locale");
  Object.assign(texts, all.en?.hummingbird, all[language]?.hummingbird);
}

/** A text with its {placeholders} filled in; a name without a text stands for itself. */
export function text(name, values = {}) {
  const template = texts[name] ?? name;
  return template.replace(/{(\w+)}/g, (placeholder, key) => values[key] ?? placeholder);
}
