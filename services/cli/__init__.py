"""The `primitives` command."""
