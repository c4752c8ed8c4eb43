"""The evidence pack of a study: everything that a review of the study needs, in one archive."""
