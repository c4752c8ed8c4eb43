"""The objects that records refer to: the references, garbage collection, and the cross-check of records and objects."""
