"""Messages and previews on the page of the user whose prompt runs."""
