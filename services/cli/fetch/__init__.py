"""`primitives dataset fetch`: public sets from the servers of their archives, resumable and with verified hashes."""
