"""Children that are warm before the first job."""

import pytest
import structlog

from services.common.work.runner import JobRunner
from services.common.work.warm_up import warm_up
from tests.fakes import jobs

UNUSED = "wave"
"""A module that nothing else imports."""


def test_the_first_job_finds_the_module_imported() -> None:
    """The child that imported the module is the one that runs the jobs; one that was not warmed has not imported it."""
    for warmed in (True, False):
        runner = JobRunner("test-job")
        try:
            if warmed:
                warm_up(runner, UNUSED).join()
            assert runner.run(jobs.HAS_IMPORTED, UNUSED) is warmed
        finally:
            runner.close()


@pytest.mark.parametrize("closed", [False, True])
def test_a_child_that_cannot_be_warmed_is_logged(closed: bool) -> None:
    """A module that does not exist, or a service that stops meanwhile, ends in a line of the log; later jobs run."""
    runner = JobRunner("test-job")
    if closed:
        runner.close()
    with structlog.testing.capture_logs() as lines:
        warm_up(runner, "services.no_such_module").join()
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["child not warm"]
    if not closed:
        assert runner.run(jobs.ADD, jobs.Sum(left=1, right=2)) == 3
        runner.close()
