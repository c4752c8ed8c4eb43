"""The layout of CBIS-DDSM."""
