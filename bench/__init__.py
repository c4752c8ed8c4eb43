"""Benches of the product. Each prints its figures as one JSON object."""
