"""Models by name: on this computer, and from their authors."""
