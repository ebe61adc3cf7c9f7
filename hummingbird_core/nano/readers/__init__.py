"""What a video of the small world shows, read by deterministic rules."""
