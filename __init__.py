"""Where ComfyUI finds this pack: the nodes in `nodes`, the front end in `web`.

Nothing of ComfyUI is imported before ComfyUI asks for the nodes, so that this file may be imported
anywhere.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called once by ComfyUI; gives it the extension with all nodes."""
    from .nodes import HummingbirdExtension

    return HummingbirdExtension()
