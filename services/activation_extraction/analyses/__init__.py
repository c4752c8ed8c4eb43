"""What can be found out of a completed extraction: one kind a file, the table of kinds in `kinds`, done in pieces."""
