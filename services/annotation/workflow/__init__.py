"""What the annotation service decides, and what it answers."""
