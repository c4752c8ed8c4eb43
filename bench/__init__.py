"""Benches of the product: each is one file and prints its figures as one JSON object."""
