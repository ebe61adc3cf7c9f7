// The panel below a node's inputs that shows its results.

import { app } from "../../scripts/app.js";

const NAME = "hummingbird_panel";
const MARGIN = 6; // that ComfyUI leaves on each side
const GAP = 4; // and between two widgets

/** Show a view in the node's panel, which is created on first use. */
export function show(node, view) {
  const panel = panelOf(node);
  panel.firstChild.replaceChildren(view);
}

/** Clear the node's panel, if it has one that shows `kind`, a class of views, or anything. */
export function clear(node, kind) {
  const content = node.widgets?.find((widget) => widget.name === NAME)?.element.firstChild;
  if (kind && !content?.querySelector(`.${kind}`)) return;
  content?.replaceChildren();
}

function panelOf(node) {
  const existing = node.widgets?.find((widget) => widget.name === NAME);
  return existing ? existing.element : addPanel(node);
}

function addPanel(node) {
  const panel = element("div", "hummingbird-panel");
  const content = element("div", "hummingbird-content");
  panel.append(content);
  const bare = node.size[1]; // height of the node without the panel
  let reported = 0; // largest height that the canvas has read since the last change
  const height = () => {
    reported = Math.max(reported, content.offsetHeight);
    return content.offsetHeight && content.offsetHeight + 2 * MARGIN;
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
    if (!content.offsetHeight && content.hasChildNodes()) return; // hidden
    grow(node, roomFor(content.offsetHeight) - roomFor(reported));
    reported = content.offsetHeight;
  };
  new ResizeObserver(follow).observe(content);
  saveWithout(node, () => roomFor(reported), bare);
  return panel;
}

/** Return the height that content of a height takes in a node. */
function roomFor(height) {
  return height && height + 2 * MARGIN + GAP;
}

/** Save the node at the size it has without its panel, which would leave a hole when it is loaded. */
function saveWithout(node, panelHeight, bare) {
  const earlier = node.onSerialize;
  node.onSerialize = function (saved) {
    earlier?.call(this, saved);
    const [width, height] = this.size;
    saved.size = [width, Math.max(height - panelHeight(), Math.min(height, bare))];
  };
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
