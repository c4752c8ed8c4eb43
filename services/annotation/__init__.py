"""The annotation service: readers, studies and responses, and all web pages."""
