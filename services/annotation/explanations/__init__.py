"""Explanations of mammograms in the words of readers."""
