"""Structured logs: one event per line with its names and ids, for people or as JSON."""

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
"""The environment variable in which a job passes its log settings and ids to the processes that it starts."""


class LastError(NamedTuple):
    """The newest log line of level error or above in this process."""

    at: datetime
    event: str
    reason: str


class _State:
    """The log settings of this process, and the newest error that it has logged."""

    form: tuple[str, str] = ("console", "info")
    last_error: LastError | None = None


def get_logger(name: str) -> Any:
    """Return a logger whose calls read `log.info("what happened", key=value)`."""
    return structlog.get_logger(name)


def configure_logs(log_format: str, level: str) -> None:
    """Set the format of all log lines of this process. Called once, by the entry point of the process."""
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
    """Return the newest error that this process has logged, or None."""
    return _State.last_error


@contextmanager
def log_scope(**ids: str) -> Iterator[None]:
    """Add ids, except empty ones, to the log lines of a block. Ids that the block itself adds also end with it."""
    before = log_ids()
    add_log_ids(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def add_log_ids(**ids: str) -> None:
    """Add ids, except empty ones, to all following log lines until the current `log_scope` ends."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value})


def log_ids() -> dict[str, str]:
    """Return the ids that log lines carry now."""
    return dict(structlog.contextvars.get_contextvars())


def log_environment() -> dict[str, str]:
    """Return environment variables for a process that must log with the settings and ids of this one."""
    return {LOGS: json.dumps([*_State.form, log_ids()])}


def configure_logs_from_environment() -> None:
    """Do what `configure_logs` does, in a process that was started with `log_environment`."""
    log_format, level, ids = json.loads(os.environ.get(LOGS, '["console", "info", {}]'))
    configure_logs(log_format, level)
    add_log_ids(**ids)


def _remember_error(_logger: Any, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if level in ("error", "critical"):
        reason = line.get("reason") or line.get("message") or sys.exc_info()[1] or ""
        _State.last_error = LastError(datetime.now(UTC), str(line["event"]), redacted(str(reason)))
    return line
