"""Fixtures that all tests may ask for."""

from tests.servers import postgres, rabbitmq, s3

__all__ = ["postgres", "rabbitmq", "s3"]
