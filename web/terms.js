// On a Download node: how large the chosen checkpoint is, where it comes from, and its licence.

import { show } from "./panel.js";
import { description, loadTexts } from "./texts.js";
import { termsView } from "./views.js";

/** Show the terms of what is chosen, now and whenever something else is. */
export async function showTerms(node) {
  await loadTexts();
  const choice = node.widgets.find((widget) => widget.name === "checkpoint");
  const update = () => show(node, termsView(termsOf(node, choice.value)));
  const earlier = choice.callback;
  choice.callback = function (...values) {
    earlier?.apply(this, values);
    update();
  };
  update();
}

/** The description has a line for each checkpoint. */
function termsOf(node, checkpoint) {
  const lines = description(node.comfyClass).split("\n");
  return lines.find((line) => line.startsWith(checkpoint)) ?? "";
}
