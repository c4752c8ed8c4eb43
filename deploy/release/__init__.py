"""What a release promises to those who call the services or read their messages, kept to hold later code against."""
