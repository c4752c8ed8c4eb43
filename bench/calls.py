"""Calls of the benches' own functions in a child process, which has the same surroundings as the jobs of a service."""

import importlib
from typing import Any, NamedTuple

from services.common.work.jobs import Job, JobFunction
from services.common.work.runner import JobRunner


class Call(NamedTuple):
    """A function of a bench as `module:name`, and its keyword arguments."""

    target: str
    arguments: dict[str, Any]


CALL: JobFunction[Call, Any] = JobFunction(f"{__name__}:call")


def run_in_child(runner: JobRunner, target: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call `function(job, **arguments)` in the runner's child, and return its result."""
    found: dict[str, Any] = runner.run(CALL, Call(target, arguments))
    return found


@CALL.implements
def call(job: Job, spec: Call) -> Any:
    """Call the function."""
    module, _, name = spec.target.partition(":")
    return getattr(importlib.import_module(module), name)(job, **spec.arguments)
