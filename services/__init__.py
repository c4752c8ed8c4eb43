"""Visual Primitives: what the units of a mammogram network respond to, named by radiologists."""

__version__ = "0.1.0"
