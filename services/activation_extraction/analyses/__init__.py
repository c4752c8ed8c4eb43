"""Analyses of completed extractions, computed in pieces. Each kind has a file of its own; `kinds.py` lists them."""
