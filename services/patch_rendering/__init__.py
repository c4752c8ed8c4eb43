"""The patch rendering service: draws the pictures of units from the maps that extraction stored."""
