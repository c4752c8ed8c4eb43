"""Jobs in child processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidInput, JobCancelled, JobCrashed, JobFailed, Unavailable
from services.common.jobs import Cancellation, JobRunner

LIMIT_S = 20.0
HERE = "tests.fakes.jobs"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def runner() -> Iterator[JobRunner]:
    runner = JobRunner("test-job")
    yield runner
    runner.close()


def ignore(_: dict[str, Any]) -> None:
    pass


def test_a_job_returns_reports_and_hands_over(runner: JobRunner) -> None:
    """The result comes back; every report and milestone arrives before it, in order."""
    progress: list[Any] = []
    milestones: list[Any] = []
    result = runner.run(f"{HERE}:add", {"left": 2, "right": 3}, progress.append, on_milestone=milestones.append)
    assert result == 5
    assert progress == [{"done": 1}, {"done": 2}]
    assert milestones == [{"left": 2}]


def test_a_job_runs_in_another_process_that_stays_warm(runner: JobRunner) -> None:
    """Two jobs share one child, which is not this process."""
    first, second = (runner.run(f"{HERE}:process_id", {}, ignore) for _ in range(2))
    assert first == second != os.getpid()


def test_an_error_of_ours_comes_back_as_itself(runner: JobRunner) -> None:
    """A domain error keeps its type and its words across the process."""
    with pytest.raises(InvalidInput, match="patch 7 has label 9"):
        runner.run(f"{HERE}:refuse", {}, ignore)


def test_any_other_error_is_a_failed_job(runner: JobRunner) -> None:
    """An unexpected exception becomes JobFailed that names it, and the runner goes on."""
    with pytest.raises(JobFailed, match="RuntimeError: planted"):
        runner.run(f"{HERE}:break_down", {}, ignore)
    assert runner.run(f"{HERE}:add", {"left": 1, "right": 1}, ignore) == 2


def test_a_killed_child_is_a_crash_and_not_a_result(runner: JobRunner) -> None:
    """A child that dies without an answer raises JobCrashed with its exit code; the next job has a new child."""
    with pytest.raises(JobCrashed, match="-9"):
        runner.run(f"{HERE}:die", {}, ignore)
    assert runner.run(f"{HERE}:add", {"left": 1, "right": 1}, ignore) == 2


def test_a_running_job_can_be_cancelled(runner: JobRunner) -> None:
    """When `cancelled` turns true the child is ended and JobCancelled raised."""
    cancellation = Cancellation()
    with pytest.raises(JobCancelled):
        runner.run(
            f"{HERE}:wait_for_ever",
            {},
            lambda _: cancellation.request("job"),
            lambda: cancellation.requested("job"),
        )
    assert runner.run(f"{HERE}:add", {"left": 1, "right": 1}, ignore) == 2


def test_closing_gives_the_job_back(runner: JobRunner) -> None:
    """`close` ends a running child, and its caller sees Unavailable, which the bus takes as "deliver again"."""
    running = threading.Event()
    seen: list[BaseException] = []

    def work() -> None:
        try:
            runner.run(f"{HERE}:wait_for_ever", {}, lambda _: running.set())
        except Unavailable as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(LIMIT_S)
    runner.close()
    thread.join(LIMIT_S)
    assert len(seen) == 1


def test_a_listener_that_fails_costs_no_later_job_its_result(runner: JobRunner) -> None:
    """When a listener raises, the answer that its job still gives is never taken for that of the next job."""

    def unwilling(_: dict[str, Any]) -> None:
        raise Unavailable("the records are away")

    with pytest.raises(Unavailable, match="records are away"):
        runner.run(f"{HERE}:add", {"left": 1, "right": 1}, unwilling)
    assert runner.run(f"{HERE}:add", {"left": 10, "right": 20}, ignore) == 30


def test_a_child_ends_with_its_parent() -> None:
    """A parent that is killed takes its child along, also one that is busy and never writes."""
    code = (
        "import os, signal\nfrom services.common.jobs import JobRunner\n"
        "if __name__ == '__main__':\n"
        "    runner = JobRunner('test-job')\n"
        f"    print(runner.run('{HERE}:process_id', {{}}, print), flush=True)\n"
        f"    runner.run('{HERE}:wait_for_ever', {{}}, lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    deadline = time.monotonic() + LIMIT_S
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "the child lives on"
