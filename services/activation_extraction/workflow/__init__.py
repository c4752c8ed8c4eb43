"""What the extraction service decides, and what it answers."""
