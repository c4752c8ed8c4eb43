"""HTTP clients of the other services, for the pages that show their data."""
