"""Entry point of the ComfyUI pack: the nodes are in `nodes`, the front end in `web`.

Nothing of ComfyUI is imported before it asks for the nodes, so this file can be imported anywhere.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Return the extension with all nodes; ComfyUI calls this once."""
    from .nodes import HummingbirdExtension

    return HummingbirdExtension()
