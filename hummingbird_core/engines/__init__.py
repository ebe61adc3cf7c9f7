"""Engines that map a function over many items on local processes or Ray, and their journal."""
