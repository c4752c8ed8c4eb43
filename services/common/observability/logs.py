"""Structured logs: one event a line with its names and ids, for people or as JSON."""

import json
import logging
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from services.common.redaction import redacted, redacted_values

LOGS = "VISUAL_PRIMITIVES_LOGS"
"""The environment variable in which a job tells processes that it starts how they log, and of what."""


class LastError(NamedTuple):
    """The newest line of level error of this process."""

    at: datetime
    event: str
    told: str


class _State:
    """What this process' logs are like, and the newest error among them."""

    form: tuple[str, str] = ("console", "info")
    last_error: LastError | None = None


def get_logger(name: str) -> Any:
    """A logger whose calls read `log.info("what happened", key=value)`."""
    return structlog.get_logger(name)


def configure_logs(log_format: str, level: str) -> None:
    """Set the form of all log lines of this process; called once, by the process' entry point."""
    _State.form = (log_format, level)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redacted_values,
        _remember_error,
    ]
    render: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )  # no locals: they hold secrets
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def last_error() -> LastError | None:
    """The newest error that this process has logged; None if there was none."""
    return _State.last_error


@contextmanager
def log_scope(**ids: str) -> Iterator[None]:
    """Have the lines of a block carry these ids, of which empty ones are left out, and those that are added in it."""
    before = log_ids()
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def add_log_ids(**ids: str) -> None:
    """Have the lines that follow carry these ids too, to the end of their `log_scope`."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})


def log_ids() -> dict[str, str]:
    """The ids that lines carry now."""
    return dict(structlog.contextvars.get_contextvars())


def log_environment() -> dict[str, str]:
    """The environment of a process that is to log as this one does, of the same things."""
    return {LOGS: json.dumps([*_State.form, log_ids()])}


def configure_logs_from_environment() -> None:
    """As `configure_logs`, in a process that was started with `log_environment`."""
    log_format, level, ids = json.loads(os.environ.get(LOGS, '["console", "info", {}]'))
    configure_logs(log_format, level)
    add_log_ids(**ids)


def _remember_error(_logger: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if level in ("error", "critical"):
        told = line.get("reason") or line.get("message") or sys.exc_info()[1] or ""
        _State.last_error = LastError(datetime.now(UTC), str(line["event"]), redacted(str(told)))
    return line
