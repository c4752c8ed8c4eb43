"""Objects and the records that name them: references, garbage collection, and the cross-check of both."""
