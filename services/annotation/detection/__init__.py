"""What held-out patients say about the names of units: scores of the concepts in a name, and names by machine."""
