"""The activation extraction service: the top patches, maps and statistics of every unit."""
