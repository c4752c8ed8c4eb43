"""The files of a source, and the tables among them."""
