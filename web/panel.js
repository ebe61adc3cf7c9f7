// The panel below a node's inputs that shows its results.

import { app } from "../../scripts/app.js";

const NAME = "hummingbird_panel";
const MARGIN = 6; // that ComfyUI leaves on each side

/** Show a view in the node's panel, which is created on first use. */
export function show(node, view) {
  const panel = panelOf(node);
  panel.firstChild.replaceChildren(view);
}

/** Clear the node's panel, if it has one. */
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
  let reported = 0; // largest height that the canvas has read since the last change
  const height = () => {
    reported = Math.max(reported, content.offsetHeight);
    return content.offsetHeight + 2 * MARGIN;
  };
  const widget = node.addDOMWidget(NAME, NAME, panel, {
    serialize: false, // not part of the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: height,
    getMaxHeight: height,
  });
  widget.serialize = false; // nor of the workflow
  const follow = () => {
    if (!content.offsetHeight) return; // hidden
    grow(node, content.offsetHeight - reported);
    reported = content.offsetHeight;
  };
  new ResizeObserver(follow).observe(content);
  return panel;
}

/** Resize a node: on the classic canvas, nodes grow with their content but do not shrink. */
function grow(node, pixels) {
  const [width, height] = node.size;
  const wanted = height + Math.min(pixels, 0);
  node.setSize([width, Math.max(wanted, node.computeSize()[1])]);
  app.graph.setDirtyCanvas(true, true);
}

/** Create a DOM element with a class and children: elements, or text that is never parsed as HTML. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}
