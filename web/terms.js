// Shows size, source and licence of the chosen checkpoint on a Download node.

import { show } from "./panel.js";
import { description, loadTexts } from "./texts.js";
import { termsView } from "./views.js";

/** Show the terms of the chosen checkpoint, now and after every change. */
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

/** Return the line of a checkpoint in the node's description. */
function termsOf(node, checkpoint) {
  const lines = description(node.comfyClass).split("\n");
  return lines.find((line) => line.startsWith(checkpoint)) ?? "";
}
