"""Tests of `primitives dataset fetch`."""
