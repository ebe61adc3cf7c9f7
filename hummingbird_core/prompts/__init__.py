"""Prompt enhancement: rewrite a short prompt into a detailed one that fits the text window."""

from .backends.base import Chat, FunctionChat
from .chat_enhancer import ChatEnhancer
from .enhancer import EnhancedPrompt, Enhancer
from .expander import BuiltinEnhancer
from .factory import SOURCES, create_enhancer

__all__ = [
    "SOURCES",
    "BuiltinEnhancer",
    "Chat",
    "ChatEnhancer",
    "EnhancedPrompt",
    "Enhancer",
    "FunctionChat",
    "create_enhancer",
]
