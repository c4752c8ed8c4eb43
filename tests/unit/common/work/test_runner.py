"""Jobs in child processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidInput, JobCrashed, JobFailed, JobStopped, Unavailable
from services.common.work import runner as module
from services.common.work.jobs import JobFunction, Order
from services.common.work.runner import JobRunner
from tests.fakes import jobs
from tests.fakes.jobs import Sum

LIMIT_S = 20.0
ROOT = Path(__file__).parents[4]


@pytest.fixture
def runner() -> Iterator[JobRunner]:
    runner = JobRunner("test-job")
    yield runner
    runner.close()


class Orders:
    """The order to work until the job has reported once, and then to stop."""

    def __init__(self) -> None:
        self._order = self._then = Order.WORK

    def after(self, order: Order) -> Callable[[Any], None]:
        """A listener to progress, at whose first call the order is given."""
        self._then = order
        return lambda _: setattr(self, "_order", self._then)

    def __call__(self) -> Order:
        return self._order


def test_a_job_returns_reports_and_hands_over(runner: JobRunner) -> None:
    """The result comes back; every report and milestone arrives before it, in order."""
    progress: list[Any] = []
    milestones: list[Any] = []
    result = runner.run(jobs.ADD, Sum(left=2, right=3), progress.append, on_milestone=milestones.append)
    assert result == 5
    assert [report.done for report in progress] == [1, 2]
    assert milestones == [2]


def test_a_job_runs_in_another_process_that_stays_warm(runner: JobRunner) -> None:
    """Two jobs share one child, which is not this process."""
    first, second = (runner.run(jobs.PROCESS_ID, None) for _ in range(2))
    assert first == second != os.getpid()


def test_collections_leave_out_what_the_import_created(runner: JobRunner) -> None:
    """The first job of a module freezes the objects that exist then. Later jobs freeze nothing."""
    first = runner.run(jobs.FROZEN, None)
    assert first > 10_000
    assert runner.run(jobs.FROZEN, None) <= first


def test_an_error_of_ours_comes_back_as_itself(runner: JobRunner) -> None:
    """A domain error keeps its type and its words across the process."""
    with pytest.raises(InvalidInput, match="patch 7 has label 9"):
        runner.run(jobs.REFUSE, None)


def test_any_other_error_is_a_failed_job(runner: JobRunner) -> None:
    """An unexpected exception becomes JobFailed with its name, and the runner still works."""
    with pytest.raises(JobFailed, match="RuntimeError: planted"):
        runner.run(jobs.BREAK_DOWN, None)
    assert runner.run(jobs.ADD, Sum(left=1, right=1)) == 2


def test_a_killed_child_is_a_crash_and_not_a_result(runner: JobRunner) -> None:
    """A child that dies without an answer raises JobCrashed with its exit code; the next job has a new child."""
    with pytest.raises(JobCrashed, match="-9"):
        runner.run(jobs.DIE, None)
    assert runner.run(jobs.ADD, Sum(left=1, right=1)) == 2


def test_a_job_that_must_stop_stops_in_order(runner: JobRunner) -> None:
    """A job that looks between its batches leaves: JobStopped, and the child stays warm for the next."""
    before = runner.run(jobs.PROCESS_ID, None)
    orders = Orders()
    with pytest.raises(JobStopped):
        runner.run(jobs.WORK_UNTIL_STOPPED, None, orders.after(Order.CANCEL), orders)
    assert runner.run(jobs.PROCESS_ID, None) == before


def test_a_paused_job_can_hand_over_what_it_has(runner: JobRunner) -> None:
    """What a job returns when it is paused is its result, with its milestones; a cancelled one keeps nothing."""
    kept: list[Any] = []
    orders = Orders()
    done = runner.run(jobs.SAVE_WHEN_PAUSED, None, orders.after(Order.PAUSE), orders, kept.append)
    assert kept == [done]
    orders = Orders()
    with pytest.raises(JobStopped):
        runner.run(jobs.SAVE_WHEN_PAUSED, None, orders.after(Order.CANCEL), orders, kept.append)
    assert len(kept) == 1


def test_a_job_that_does_not_leave_is_killed(runner: JobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it has to leave the child is ended and JobStopped raised; the next job has a new one."""
    monkeypatch.setattr(module, "STOP_S", 0.2)
    for order in (Order.CANCEL, Order.PAUSE):
        orders = Orders()
        with pytest.raises(JobStopped, match=f"did not {order.value} in time and was killed"):
            runner.run(jobs.WAIT_FOR_EVER, None, orders.after(order), orders, pause_s=0.2)
    assert runner.run(jobs.ADD, Sum(left=1, right=1)) == 2


def test_a_job_that_hangs_is_killed() -> None:
    """A job that reports nothing for the limit is a crash, which counts as an attempt. Reports keep a job alive, and
    the next job has a new child."""
    runner = JobRunner("test-job", silence_s=5.0)
    first = runner.run(jobs.PROCESS_ID, None)
    with pytest.raises(JobCrashed, match="reported nothing for 5 s"):
        runner.run(jobs.HANG, None)
    assert runner.run(jobs.REPORT_FOR_LONGER, 6.0) == "done"
    assert runner.run(jobs.PROCESS_ID, None) != first
    runner.close()


def test_a_pause_may_take_longer_than_a_cancel(runner: JobRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused job has its own time to save; when it is cancelled meanwhile, that of a cancel counts."""
    monkeypatch.setattr(module, "STOP_S", 0.2)
    orders_given: list[Order] = []

    def orders() -> Order:
        orders_given.append(Order.PAUSE if len(orders_given) < 10 else Order.CANCEL)
        return orders_given[-1]

    with pytest.raises(JobStopped, match="did not cancel in time"):
        runner.run(jobs.WAIT_FOR_EVER, None, lambda _: None, orders, pause_s=LIMIT_S)
    assert orders_given[:10] == [Order.PAUSE] * 10


def test_a_late_order_is_not_taken_by_the_next_job(runner: JobRunner) -> None:
    """An order that comes when its job has answered already means nothing to the job after it."""
    assert runner.run(jobs.ADD, Sum(left=1, right=2), lambda _: None, lambda: Order.CANCEL) == 3, "it never looks"
    assert runner.run(jobs.IS_PAUSED, None) is False


def test_closing_gives_the_job_back(runner: JobRunner) -> None:
    """`close` ends a running child, and its caller sees Unavailable, which the bus takes as "deliver again"."""
    running = threading.Event()
    seen: list[BaseException] = []

    def work() -> None:
        try:
            runner.run(jobs.WAIT_FOR_EVER, None, lambda _: running.set())
        except Unavailable as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(LIMIT_S)
    runner.close()
    thread.join(LIMIT_S)
    assert len(seen) == 1


def test_a_handler_that_fails_costs_no_later_job_its_result(runner: JobRunner) -> None:
    """When a listener raises, the answer that its job still gives is never taken for that of the next job."""

    def unwilling(_: Any) -> None:
        raise Unavailable("the records are away")

    with pytest.raises(Unavailable, match="records are away"):
        runner.run(jobs.ADD, Sum(left=1, right=1), unwilling)
    assert runner.run(jobs.ADD, Sum(left=10, right=20)) == 30


def test_a_child_ends_with_its_parent() -> None:
    """A parent that is killed takes its child along, also one that is busy and never writes."""
    code = (
        "import os, signal\nfrom services.common.work.runner import JobRunner\nfrom tests.fakes import jobs\n"
        "if __name__ == '__main__':\n"
        "    runner = JobRunner('test-job')\n"
        "    print(runner.run(jobs.PROCESS_ID, None), flush=True)\n"
        "    runner.run(jobs.WAIT_FOR_EVER, None, lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    deadline = time.monotonic() + LIMIT_S
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "the child lives on"


def test_a_function_that_implements_another_declaration_is_refused() -> None:
    """The decorator compares module and name: a declaration that is out of date is noticed at import."""
    with pytest.raises(TypeError, match=r"test_runner:.*misplaced implements a job that is declared as a\.b:c"):

        @JobFunction[None, None]("a.b:c").implements
        def misplaced(_job: Any, _spec: None) -> None:
            """Never called."""
