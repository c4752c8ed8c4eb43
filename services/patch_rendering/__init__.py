"""The patch rendering service: the pictures of units, from the maps that extraction kept."""
