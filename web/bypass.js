// Hands on the text of a bypassed node. ComfyUI drops the link to such a node, and the prompt that
// lies hidden below the link would be used.

const BYPASSED = 4; // a node's mode in the front end
const TEXT_OF = { HummingbirdEnhancePrompt: "prompt", HummingbirdPromptList: "prompts" };

/** Make the text inputs of a node send the text of a bypassed node before it. */
export function handOnBypassedText(node) {
  for (const widget of node.widgets ?? []) {
    if (widget.name !== "prompt") continue;
    const own = widget.serializeValue;
    widget.serializeValue = function (...place) {
      return bypassedText(node, widget.name) ?? (own ? own.apply(this, place) : this.value);
    };
  }
}

/** The text of the bypassed node at an input; null if there is none. */
function bypassedText(node, input) {
  const slot = node.inputs?.findIndex(({ name }) => name === input) ?? -1;
  const source = slot < 0 ? null : node.getInputNode(slot);
  const name = source?.mode === BYPASSED ? TEXT_OF[source.comfyClass] : undefined;
  if (!name) return null;
  // What is linked to it, ComfyUI hands on itself, or it is bypassed, too.
  const isLinked = source.inputs?.some((one) => one.name === name && one.link != null);
  if (isLinked) return bypassedText(source, name);
  return source.widgets?.find((widget) => widget.name === name)?.value ?? null;
}
