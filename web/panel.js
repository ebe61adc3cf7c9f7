// The place below a node's inputs where its results appear.

import { app } from "../../scripts/app.js";

const NAME = "hummingbird_panel";
const MARGIN = 6; // that ComfyUI leaves on each side

/** Replace what a node shows. Its panel is made when there is first something to show. */
export function show(node, view) {
  const panel = panelOf(node);
  panel.firstChild.replaceChildren(view);
}

/** Take away what a node showed before; a panel that was never made is not made for that. */
export function clear(node) {
  const panel = node.widgets?.find((widget) => widget.name === NAME)?.element;
  panel?.firstChild.replaceChildren();
}

function panelOf(node) {
  const existing = node.widgets?.find((widget) => widget.name === NAME);
  return existing ? existing.element : addPanel(node);
}

function addPanel(node) {
  const panel = element("div", "hummingbird-panel");
  const content = element("div", "hummingbird-content");
  panel.append(content);
  let told = 0; // the most that the canvas was told since the last change
  const height = () => {
    told = Math.max(told, content.offsetHeight);
    return content.offsetHeight + 2 * MARGIN;
  };
  const widget = node.addDOMWidget(NAME, NAME, panel, {
    serialize: false, // of the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: height,
    getMaxHeight: height,
  });
  widget.serialize = false; // of the workflow
  const follow = () => {
    if (!content.offsetHeight) return; // out of sight
    grow(node, content.offsetHeight - told);
    told = content.offsetHeight;
  };
  new ResizeObserver(follow).observe(content);
  return panel;
}

/** Nodes of the classic canvas grow with their content but do not shrink; Nodes 2.0 do both. */
function grow(node, pixels) {
  const [width, height] = node.size;
  const wanted = height + Math.min(pixels, 0);
  node.setSize([width, Math.max(wanted, node.computeSize()[1])]);
  app.graph.setDirtyCanvas(true, true);
}

/** A DOM element with a class and what belongs into it: elements, or text, which is never HTML. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}
