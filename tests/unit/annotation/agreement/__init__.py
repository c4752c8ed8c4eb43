"""Tests of the agreement among readers."""
