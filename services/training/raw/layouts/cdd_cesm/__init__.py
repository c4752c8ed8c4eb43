"""The layout of CDD-CESM."""
