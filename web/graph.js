// Finds nodes of the open graph.

import { app } from "../../scripts/app.js";

/** Return the node of an execution id: "7", or "3:7" for node 7 in subgraph 3; null if it is gone. */
export function nodeOf(executionId) {
  let graph = app.rootGraph ?? app.graph;
  let node = null;
  for (const id of String(executionId ?? "").split(":")) {
    node = graph?.getNodeById(id) ?? null;
    graph = node?.subgraph;
  }
  return node;
}
