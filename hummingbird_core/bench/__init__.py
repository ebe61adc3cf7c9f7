"""Speed and memory, never measured without a check of the output."""
