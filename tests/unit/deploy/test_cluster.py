"""What deploy/cluster computes from the pods of a cluster and their logs."""

import json

import pytest

from deploy.cluster.gpus import is_good, is_over
from deploy.cluster.pods import GpuPod, jobs_in, longest_wait_for_nothing, pod_of, times_of_at_least, without
from deploy.smoke.run import PLAN

NOW = 500.0
COMPLETED = {"dataset": "completed", "training": "completed", "extraction": "completed", "study": "completed"}
ANALYSED = dict.fromkeys(PLAN["extraction"]["analyses"], "completed")


def pod(created: float, scheduled: float | None, finished: float | None, *jobs: tuple[float, float]) -> GpuPod:
    """Return a pod with these times."""
    return GpuPod("a", "training-worker", created, scheduled, finished, list(jobs))


def test_a_wait_behind_a_working_pod_is_no_wait_for_nothing() -> None:
    """Only the time after the last job of the pod that has the GPU counts, until another pod gets it."""
    working = pod(0, 1, 112, (20, 60), (60, 100))
    assert longest_wait_for_nothing([working, pod(10, 113, 200, (120, 130))], 1, NOW) == 13


def test_starting_for_a_job_is_work() -> None:
    """From the moment when a pod gets its GPU, it starts for its first job. A pod that has no job is idle all the
    time."""
    assert longest_wait_for_nothing([pod(0, 1, 60, (40, 50)), pod(0, 60, 70, (65, 66))], 1, NOW) == 10
    assert longest_wait_for_nothing([pod(1, 1, 50), pod(1, 50, 90, (60, 80))], 1, NOW) == 49


def test_pods_without_work_one_after_the_other_make_one_wait() -> None:
    """A pod that waits behind several of them waits for all."""
    idle = [pod(0, 1, 11), pod(0, 11, 21), pod(0, 21, 31)]
    assert longest_wait_for_nothing([*idle, pod(0, 31, 60, (40, 50))], 1, NOW) == 31
    assert longest_wait_for_nothing([], 1, NOW) == 0


def test_a_pod_that_never_gets_a_gpu_waits_until_now() -> None:
    """That was the fault: a Deployment kept the only GPU, and a worker was pending without end."""
    assert longest_wait_for_nothing([pod(100, None, None)], 1, NOW) == 400


def test_with_several_gpus_every_idle_one_counts() -> None:
    """A pod that waits while one of two GPUs is idle waits for nothing, whatever runs on the other."""
    pods = [pod(0, 1, 200, (10, 190)), pod(0, 1, 60, (10, 40)), pod(30, 61, 100, (70, 80))]
    assert longest_wait_for_nothing(pods, 2, NOW) == 21
    assert longest_wait_for_nothing(pods, 1, NOW) == 1


def test_times_of_at_least() -> None:
    """Intervals that meet make one time; the level counts."""
    assert times_of_at_least(1, [(0, 2), (2, 3), (1, 2), (5, 6)]) == [(0, 3), (5, 6)]
    assert times_of_at_least(2, [(0, 4), (1, 3), (2, 6)]) == [(1, 4)]
    assert times_of_at_least(1, []) == []


def test_the_parts_of_an_interval() -> None:
    """What overlaps the others is left out, at both ends too."""
    assert without((0, 10), [(-2, 1), (3, 4), (9, 12)]) == [(1, 3), (4, 9)]
    assert without((0, 10), [(0, 10)]) == without((5, 5), []) == []


def test_jobs_are_read_from_the_log_of_a_worker() -> None:
    """A line at the level debug says when a message was done, and how long it took. Other lines are left out."""
    line = {"event": "message processed", "outcome": "done", "seconds": 1.5, "timestamp": "1970-01-01T00:01:00Z"}
    others = [line | {"outcome": "deferred"}, line | {"event": "job stopped"}]
    text = "\n".join([*map(json.dumps, [line, *others]), "Traceback"])
    assert jobs_in(text) == [(58.5, 60.0)]


def test_a_pod_is_read_from_the_api() -> None:
    """It has been scheduled and has ended if the API says so."""
    item = {
        "metadata": {
            "name": "w-1", "labels": {"app.kubernetes.io/name": "w"}, "creationTimestamp": "1970-01-01T00:00:01Z",
        },
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "lastTransitionTime": "x"}]},
    }  # fmt: skip
    assert pod_of(item) == GpuPod("w-1", "w", 1.0)
    item["status"] = {
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:02Z"}],
        "containerStatuses": [{"state": {"terminated": {"finishedAt": "1970-01-01T00:00:03Z"}}}],
    }
    assert pod_of(item) == GpuPod("w-1", "w", 1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("states", "over"),
    [
        (COMPLETED | ANALYSED, True),
        (COMPLETED, False),
        (COMPLETED | ANALYSED | {"study": "running"}, False),
        ({"dataset": "failed"}, True),
        ({}, False),
    ],
)
def test_a_plan_is_over_with_its_analyses(states: dict[str, str], over: bool) -> None:
    """A plan has ended when its study and all its analyses have, or when a stage has failed."""
    assert is_over(states) == over


def test_the_result_is_good_if_all_work_is_done_in_time() -> None:
    """A failed stage, a parked message or a long wait is not good."""
    good = {"plans": [COMPLETED], "parked": 0, "longest_wait_for_nothing_s": 12.0}
    assert is_good(good)
    assert not is_good(good | {"parked": 1})
    assert not is_good(good | {"longest_wait_for_nothing_s": 31.0})
    assert not is_good(good | {"plans": [COMPLETED, {"dataset": "failed"}]})
