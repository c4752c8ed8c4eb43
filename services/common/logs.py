"""Structured logs: one event a line with its names and ids, for people or as JSON."""

import logging
import sys
from typing import Any

import structlog


def get_logger(name: str) -> Any:
    """A logger whose calls read `log.info("what happened", key=value)`."""
    return structlog.get_logger(name)


def configure_logs(log_format: str, level: str) -> None:
    """Set the form of all log lines of this process; called once, by the process' entry point."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ]  # no locals: they hold secrets
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
