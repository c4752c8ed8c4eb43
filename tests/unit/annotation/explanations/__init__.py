"""Tests of explanations in the words of readers."""
