// Animated previews on every node that samples with one of this pack's models. The server sends one
// after each step.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeOf } from "./graph.js";
import { clear, show } from "./panel.js";
import { previewView } from "./views.js";

const moving = new Set(); // ids of nodes with an animated preview in this run
// The next node runs, or none does any more: the previews are of before.
const NEXT = ["executing", "execution_success", "execution_error", "execution_interrupted"];

for (const event of NEXT) api.addEventListener(event, clearPreviews);
api.addEventListener("execution_start", () => moving.clear());
api.addEventListener("hummingbird_preview", showMoving);
// ComfyUI would add its still image of each step. It starts to listen after all extensions are
// loaded, so this listener runs first.
api.addEventListener("b_preview_with_metadata", leaveOutStill);

function showMoving({ detail }) {
  const node = nodeOf(detail.node);
  if (!node || isAnimatedByOthers()) return;
  moving.add(detail.node);
  show(node, previewView(detail));
}

/** Clear the previews of nodes that have run: the video is shown where it is saved. */
function clearPreviews({ type, detail }) {
  for (const id of moving) {
    if (type === "executing" && detail === id) continue;
    const node = nodeOf(id);
    if (node) clear(node, "hummingbird-moving");
  }
}

/** Return whether VideoHelperSuite is set to animate the previews of all video models. */
function isAnimatedByOthers() {
  return app.extensionManager.setting.get("VHS.LatentPreview") === true;
}

function leaveOutStill(event) {
  if (moving.has(event.detail.displayNodeId)) event.stopImmediatePropagation();
}
