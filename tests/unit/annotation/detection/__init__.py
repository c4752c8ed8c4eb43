"""Tests of the scores of names."""
