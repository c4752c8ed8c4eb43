"""The layout of DDSM."""
