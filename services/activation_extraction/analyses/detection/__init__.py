"""Scores units as detectors of concepts, and names them by the concepts that they detect."""
