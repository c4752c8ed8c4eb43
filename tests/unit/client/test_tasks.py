"""Waiting for work with the Python client, and plans over all services."""

from typing import Any

import httpx
import pytest

from primitives_client import Conflict, InvalidInput, NotFound, Plan, Run, TaskFailed, TimedOut, Unavailable
from primitives_client.resources import FIRST_POLL_S, LONGEST_POLL_S, PATIENCE_S
from tests.fakes.http_services import HttpServices, problem, run, stages

ABSENT = problem(404, "NotFound", "there is no extraction of a plan 'plan-1'")


def get_run(services: HttpServices, **options: Any) -> Run:
    """Read the run."""
    return services.client(**options).runs.get("run-1")


def get_plan(services: HttpServices) -> Plan:
    """Return the plan before anything of it is read."""
    return Plan(services.client(attempts=1)._connections, "plan-1")


def answered(state: str, **changes: Any) -> httpx.Response:
    """Return the service's answer with the run."""
    return httpx.Response(200, json=run(state, **changes))


def test_wait_returns_the_task_itself_when_it_is_completed() -> None:
    """Its fields are then the newest ones. The time between polls grows."""
    times = {"started": "2026-11-29T12:00:00+00:00", "finished": "2026-11-29T12:00:09+00:00"}
    services = HttpServices(answered("queued"), *[answered("running")] * 20, answered("completed", **times))
    found = get_run(services)
    assert found.wait() is found
    assert (found.state, found.seconds) == ("completed", 9.0)
    assert services.waits[0] == FIRST_POLL_S and services.waits[-1] == LONGEST_POLL_S
    assert services.waits == sorted(services.waits)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_task_that_fails_is_an_error(state: str) -> None:
    """With the task's own reason."""
    services = HttpServices(answered("running"), answered(state, error="loss is NaN"))
    with pytest.raises(TaskFailed, match=f"run-1 {state}: loss is NaN"):
        get_run(services).wait()


def test_a_wait_may_have_a_limit() -> None:
    """The last pause ends at the limit, and the task is not touched."""
    services = HttpServices(answered("running"))
    with pytest.raises(TimedOut, match="run-1 has not ended after 5 s"):
        get_run(services).wait(timeout=5)
    assert sum(services.waits) == pytest.approx(5.0)
    assert {call.split()[0] for call in services.calls} == {"GET"}


def test_a_service_that_is_away_is_waited_for() -> None:
    """Its work continues, so only the patience of the client ends the wait."""
    away = problem(503, "Unavailable", "stopping")
    services = HttpServices(answered("running"), *[away] * 50, answered("completed"))
    assert get_run(services, attempts=1).wait().state == "completed"
    services = HttpServices(answered("running"), away)
    with pytest.raises(Unavailable):
        get_run(services, attempts=1).wait()
    assert PATIENCE_S <= sum(services.waits) <= PATIENCE_S + LONGEST_POLL_S


def test_a_wait_with_progress_shows_bars(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, a line for each phase."""
    epoch = {
        "epoch": 1, "learning_rate": 0.1, "train_loss": 1, "train_accuracy": 1, "train_auc": 1, "val_auc": 0.75,
        "seconds": 1,
    }  # fmt: skip
    services = HttpServices(answered("running"), answered("running", epochs=[epoch]), answered("completed"))
    get_run(services).wait(progress=True)
    shown = capsys.readouterr().err
    assert shown.splitlines() == ["training    epoch 1 of 2, 3 of 12 steps, AUC 0.7500", "training    completed"]


def test_a_run_is_renamed() -> None:
    """The run is then the one with its new name, also in tables. A start may name it too."""
    services = HttpServices(answered("running"), answered("running", name="Baseline"))
    found = get_run(services)
    assert found.rename("Baseline") is found
    assert (found.name, found.row()["name"]) == ("Baseline", "Baseline")
    services.client().runs.start("dataset-1", name="Second")
    assert services.calls[1].startswith("PATCH ")
    assert services.bodies() == [{"name": "Baseline"}, {"dataset_id": "dataset-1", "name": "Second"}]


def test_a_resource_cannot_be_changed_by_hand() -> None:
    """Its fields are what the service has answered."""
    with pytest.raises(ValueError, match="frozen"):
        get_run(HttpServices(answered("running"))).state = "completed"


def test_a_plan_is_read_where_it_is() -> None:
    """A service whose stages have completed is not read again; one whose stage has not begun has none."""
    services = HttpServices(
        stages(("dataset", "completed"), ("training", "running")),
        stages(("dataset", "completed"), ("training", "completed")),
        ABSENT,
        stages(("extraction", "completed")),
        stages(("rendering", "completed")),
        ABSENT,
        stages(("study", "completed")),
    )
    plan = get_plan(services)
    assert plan.wait() is plan
    assert [stage.name for stage in plan.stages] == ["dataset", "training", "extraction", "rendering", "study"]
    ports = [one.url.port for one in services.requests]
    assert ports == [8001, 8001, 8002, 8002, 8003, 8000, 8000]
    assert "study completed" in repr(plan) and plan._repr_html_().count("<progress") == 5


def test_a_plan_with_a_trained_network_has_no_stage_of_training() -> None:
    """The plan continues in the next service."""
    services = HttpServices(stages(), stages(("extraction", "paused")))
    plan = get_plan(services)
    assert [stage.name for stage in plan.stages] == ["extraction"]
    assert (plan.state, plan.ended) == ("paused", False)


def test_a_plan_that_fails_is_an_error() -> None:
    """With the name of the stage and its reason."""
    services = HttpServices(stages(("training", "completed")), stages(("extraction", "failed"), error="disk full"))
    with pytest.raises(TaskFailed, match="the stage extraction of plan plan-1 failed: disk full"):
        get_plan(services).wait()


def test_a_plan_that_does_not_exist_is_not_found() -> None:
    """Only the training service knows all plans."""
    with pytest.raises(NotFound):
        get_plan(HttpServices(ABSENT)).wait()


def test_a_stage_that_has_not_begun_has_no_object() -> None:
    """The error names the stages that there are."""
    with pytest.raises(NotFound, match=r"has no stage study yet.*training running"):
        _ = get_plan(HttpServices(stages(("training", "running")))).study


def test_a_plan_is_paused_in_its_current_service() -> None:
    """Between two services, the client waits until the next stage has begun."""
    services = HttpServices(
        stages(("training", "completed")), ABSENT, stages(("extraction", "running")),
        stages(("extraction", "paused")), stages(("extraction", "paused")),
    )  # fmt: skip
    plan = get_plan(services).pause()
    assert plan.state == "paused"
    assert services.calls[3] == "POST http://host:8002/v1/plans/plan-1/pause"


def test_a_stage_that_ends_meanwhile_is_followed() -> None:
    """A refusal counts only if the stages are still the same."""
    refusal = problem(409, "Conflict", "it has ended")
    services = HttpServices(
        stages(("training", "running")), refusal, stages(("training", "completed")), stages(("extraction", "running")),
        stages(("extraction", "running")), stages(("extraction", "cancelled")), stages(("extraction", "cancelled")),
    )  # fmt: skip
    assert get_plan(services).cancel().state == "cancelled"
    services = HttpServices(stages(("training", "running")), refusal, stages(("training", "running")))
    with pytest.raises(Conflict, match="it has ended"):
        get_plan(services).resume()


def test_a_plan_between_two_stages_is_not_resumed() -> None:
    """Nothing is paused there."""
    with pytest.raises(Conflict, match="waits for its next stage"):
        get_plan(HttpServices(stages(("training", "completed")), ABSENT)).resume()


def test_a_plan_starts_with_what_is_given() -> None:
    """Parts that are not given are left to the service."""
    services = HttpServices(stages(("training", "queued")))
    p = services.client()
    p.plans.start(dataset="dataset-1", train={"epochs": 2}, study={"title": "First"}, key="k")
    p.plans.start(run="run-1", checkpoint="best")
    assert services.bodies() == [
        {"dataset": {"dataset_id": "dataset-1"}, "network": {"train": {"epochs": 2}}, "study": {"title": "First"}},
        {"network": {"run_id": "run-1", "checkpoint": "best"}},
    ]
    with pytest.raises(InvalidInput, match=r"extraction\.layer: Extra"):
        p.plans.start(extraction={"layer": "layer4"})


def test_nothing_is_no_data_set() -> None:
    """A plan on the sample is started only by leaving the data set out."""
    missing: Any = None
    with pytest.raises(InvalidInput, match="None has no id"):
        HttpServices(stages()).client().plans.start(dataset=missing)
