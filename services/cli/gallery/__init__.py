"""`primitives gallery`: writes the units of an extraction as a folder of pages that a browser opens from disk."""
