// Moving previews, on every node that samples with one of our models: what the server sends after
// each step.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeOf } from "./graph.js";
import { show } from "./panel.js";
import { previewView } from "./views.js";

const moving = new Set(); // ids of the nodes that show one in this run

api.addEventListener("execution_start", () => moving.clear());
api.addEventListener("hummingbird_preview", showMoving);
// ComfyUI would put its still picture of each step beside the moving one. It listens from the time
// when all extensions are loaded on, so that ours comes first.
api.addEventListener("b_preview_with_metadata", leaveOutStill);

function showMoving({ detail }) {
  const node = nodeOf(detail.node);
  if (!node || isAnimatedByOthers()) return;
  moving.add(detail.node);
  show(node, previewView(detail));
}

/** VideoHelperSuite animates the previews of all video models where its user asks it to. */
function isAnimatedByOthers() {
  return app.extensionManager.setting.get("VHS.LatentPreview") === true;
}

function leaveOutStill(event) {
  if (moving.has(event.detail.displayNodeId)) event.stopImmediatePropagation();
}
