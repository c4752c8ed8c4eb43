"""Explanations of single mammograms: what the network predicts, and which units the prediction rests on."""
