"""The version, which is that of the services."""

__version__ = "0.1.0"
