"""The layout of EMBED."""
