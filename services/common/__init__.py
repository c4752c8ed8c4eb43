"""Plumbing shared by the services: settings, errors, bus, blobs, records, jobs, servers. Knows no torch."""
