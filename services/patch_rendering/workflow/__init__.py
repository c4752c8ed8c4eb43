"""What the rendering service decides, and what it answers."""
