"""What the extraction service decides, and how it answers queries."""
