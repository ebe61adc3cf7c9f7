"""Models by name: local look-up, and download from their authors' repositories."""
