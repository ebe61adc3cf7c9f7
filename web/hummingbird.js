// Shows results on this pack's nodes: the enhanced prompt, scores, reports, terms and progress of a
// download, and on any node that samples, a preview of the video.
// Plain DOM, so that it is the same on the classic canvas and in Nodes 2.0.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { handOnBypassedText } from "./bypass.js";
import { nodeOf } from "./graph.js";
import { clear, show } from "./panel.js";
import "./preview.js";
import { showTerms } from "./terms.js";
import { loadTexts } from "./texts.js";
import { progressView, promptView, scoresView, textView } from "./views.js";

const PREFIX = "Hummingbird";
const DOWNLOAD = "HummingbirdDownload";
const WIDE = new Set([DOWNLOAD, "HummingbirdDoctor"]); // show long lines, and have few inputs
const WIDTH = 340; // in pixels

app.registerExtension({
  name: "Hummingbird",

  async setup() {
    addStyleSheet();
    await loadTexts();
    api.addEventListener("progress", showProgress);
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(PREFIX)) return;
    handOnBypassedText(node);
    const earlier = node.onExecuted;
    node.onExecuted = function (output) {
      earlier?.call(this, output);
      const view = viewOf(output);
      if (view) show(this, view);
      else clear(this);
    };
    if (WIDE.has(node.comfyClass)) node.setSize([Math.max(node.size[0], WIDTH), node.size[1]]);
    if (node.comfyClass === DOWNLOAD) showTerms(node);
  },
});

/** Return the view of a node's output, or null; ComfyUI itself shows its images. */
function viewOf(output) {
  const report = output?.text?.filter(Boolean).join("\n");
  if (output?.hummingbird_prompt) return promptView(output.hummingbird_prompt[0], report);
  if (output?.hummingbird_scores) return scoresView(output.hummingbird_scores);
  return report ? textView(report) : null; // a node without a report sends an empty text
}

function showProgress({ detail }) {
  const node = nodeOf(detail.node);
  if (node?.comfyClass === DOWNLOAD) show(node, progressView(detail.value, detail.max));
}

function addStyleSheet() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("./hummingbird.css", import.meta.url).href;
  document.head.append(link);
}
