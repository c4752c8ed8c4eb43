"""The use cases of the annotation service."""
