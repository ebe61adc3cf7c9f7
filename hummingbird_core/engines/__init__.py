"""Engines that map work over many items: local processes, or Ray; and their journal."""
