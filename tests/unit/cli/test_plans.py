"""Plans over all services: listed, followed while services go away and come back, and acted on where they are."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deploy.local.servers import free_ports
from services.cli.client import Services
from services.cli.main import app as command
from services.cli.plan_reader import PlanReader, act_on_plan, follow_plan
from services.common.errors import Conflict, NotFound, PrimitivesError, Unavailable
from services.common.work.tasks import Verb
from services.common.work.views import Stage
from tests.fakes.following import FollowedService, Notices, stage
from tests.fakes.relay import relaying
from tests.fakes.serving import serving_http

PREFIXES = ("TRAINING", "EXTRACTION", "RENDERING", "ANNOTATION")
PLAN = "plan-1"
LIMIT_S = 60.0
TRAINED = [stage("dataset", "completed"), stage("training", "completed")]


class Four:
    """The four services, of which a test sets the stages."""

    def __init__(self) -> None:
        self.each = [FollowedService() for _ in PREFIXES]
        self.ports = free_ports(len(PREFIXES))
        self.services = Services(*(f"http://127.0.0.1:{port}" for port in self.ports))

    def set(self, *stages: list[Stage] | None) -> "Four":
        """Set the stages in each service; None where the plan has not begun."""
        for service, own in zip(self.each, stages, strict=True):
            service.stages = {} if own is None else {PLAN: own}
        return self

    @contextmanager
    def serving(self) -> Iterator["Four"]:
        """Serve all four during the block."""
        with ExitStack() as stack:
            for service, port in zip(self.each, self.ports, strict=True):
                stack.enter_context(serving_http(service.app(), port=port))
            yield self

    def run(self, *words: str) -> Result:
        """Run `primitives …` on these services."""
        variables = {f"PRIMITIVES_{name}_HTTP_PORT": str(port) for name, port in zip(PREFIXES, self.ports, strict=True)}
        return CliRunner().invoke(command, words, env=variables)

    def states(self) -> list[str]:
        """Return the state of the newest stage of each service; empty before it has begun."""
        return [service.stages[PLAN][-1].state if service.stages.get(PLAN) else "" for service in self.each]


def names(stages: list[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in stages]


def test_stages_are_read_in_order() -> None:
    """The stages of all services that have begun are returned, and a service that has done its part is not read
    again."""
    four = Four().set(TRAINED, [stage("extraction", "running")], None, None)
    with four.serving():
        reader = PlanReader(four.services, PLAN)
        assert names(reader.read()) == ["dataset", "training", "extraction"]
        four.set(TRAINED, [stage("extraction", "completed")], None, None)
        assert names(reader.read()) == ["dataset", "training", "extraction"]
        four.set(TRAINED, [stage("extraction", "completed")], [stage("rendering", "queued")], None)
        assert names(reader.read()) == ["dataset", "training", "extraction", "rendering"]
    assert [service.plan_reads for service in four.each] == [1, 2, 2, 0]


def test_a_plan_with_a_trained_network_has_no_stage_in_training() -> None:
    """Its first stage is the extraction."""
    four = Four().set([], [stage("extraction", "running")], None, None)
    with four.serving():
        assert names(PlanReader(four.services, PLAN).read()) == ["extraction"]


def test_a_built_data_set_is_followed_by_training() -> None:
    """A plan whose data set is built, and whose run has not begun, is still in the training service."""
    four = Four().set([stage("dataset", "completed")], None, None, None)
    with four.serving():
        reader = PlanReader(four.services, PLAN)
        assert names(reader.read()) == ["dataset"]
        assert reader.base == four.services.training


def test_an_unknown_plan_is_an_error_at_once() -> None:
    """NotFound, for the reader and for every command that takes a plan."""
    four = Four()
    with four.serving():
        with pytest.raises(NotFound, match="no plan 'plan-1'"):
            PlanReader(four.services, PLAN).read()
        for verb in ("show", "watch", "pause", "resume", "cancel"):
            assert isinstance(four.run("plan", verb, PLAN).exception, NotFound)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_plan_that_fails_or_is_cancelled_ends_its_follower(state: str) -> None:
    """The error names the stage and its reason."""
    four = Four().set(TRAINED, [stage("extraction", state, error="no layer 'x'")], None, None)
    with four.serving(), pytest.raises(PrimitivesError, match=f"stage extraction of plan plan-1 {state}: no layer 'x'"):
        follow_plan(four.services, PLAN)


def test_a_follower_outlasts_each_service(capfd: pytest.CaptureFixture[str]) -> None:
    """Each service in turn goes away while the plan is there, does its part meanwhile, and comes back at the same port.
    The follower prints two lines for each, and ends with the study."""
    four, stages, ends = Four(), ("training", "extraction", "rendering", "study"), list[Any]()
    four.set(*([stage(name, "running")] if name == "training" else None for name in stages))
    follower = threading.Thread(target=lambda: ends.append(follow_plan(four.services, PLAN)), daemon=True)
    with ExitStack() as others:
        servers = [others.enter_context(ExitStack()) for _ in PREFIXES]
        for service, port, server in zip(four.each, four.ports, servers, strict=True):
            server.enter_context(serving_http(service.app(), port=port))
        follower.start()
        for position, (service, name, server) in enumerate(zip(four.each, stages, servers, strict=True)):
            _await_reads(service)
            server.close()
            _await_text(capfd, f"{four.ports[position]} does not answer")
            service.stages = {PLAN: [stage(name, "completed")]}
            if position < 3:
                four.each[position + 1].stages = {PLAN: [stage(stages[position + 1], "running")]}
            server.enter_context(serving_http(service.app(), port=four.ports[position]))
        follower.join(LIMIT_S)
        assert [one["state"] for one in ends[0].values()] == ["completed"] * 4


def _await_reads(service: FollowedService) -> None:
    """Wait until the plan is read twice more."""
    read, before = threading.Event(), service.plan_reads
    service.on_read = lambda reads: read.set() if reads > before else None
    assert read.wait(LIMIT_S)


def _await_text(capfd: pytest.CaptureFixture[str], text: str) -> None:
    """Wait until a text is printed on standard error."""
    printed, tick = "", threading.Event()
    for _ in range(int(LIMIT_S / 0.05)):
        printed += capfd.readouterr().err
        if text in printed:
            return
        tick.wait(0.05)
    pytest.fail(f"{text!r} was not printed, but {printed!r}")


def test_a_follower_ends_with_services_that_cannot_come_back() -> None:
    """`check` ends it: the embedded services were started by the command itself."""
    four = Four().set([stage("training", "running")], None, None, None)

    def check() -> None:
        raise Unavailable("the services ended with status 1")

    with ExitStack() as stack:
        stack.enter_context(serving_http(four.each[0].app(), port=four.ports[0]))
        four.each[0].on_read = lambda reads: stack.close() if reads == 2 else None
    with pytest.raises(Unavailable, match="ended with status 1"):
        follow_plan(four.services, PLAN, check)


@pytest.mark.parametrize(("verb", "state"), [("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_plan_is_acted_on_where_it_is(verb: Verb, state: str, position: int) -> None:
    """The command acts on the first stage that has not completed, and on no other."""
    before = "paused" if verb == "resume" else "running"
    own = [[stage("training", before)], [stage("extraction", before)], [stage("rendering", before)]]
    done = [[stage(one[0].name, "completed")] for one in own[:position]]
    four = Four().set(*done, own[position], *[None] * (3 - position))
    with four.serving():
        done_ = four.run("plan", verb, PLAN)
    assert done_.exit_code == 0, done_.output
    assert json.loads(done_.stdout)[-1]["state"] == state
    assert four.states() == ["completed"] * position + [state] + [""] * (3 - position)


@pytest.mark.parametrize(
    ("verb", "stages", "message"),
    [
        ("resume", [TRAINED, [stage("extraction", "running")], None, None], "is running and cannot be resumed"),
        ("pause", [TRAINED, [stage("extraction", "paused")], None, None], "is paused and cannot be paused"),
        ("cancel", [[stage("training", "failed")], None, None, None], "is failed and cannot be cancelled"),
        ("cancel", [[stage("training", "cancelled")], None, None, None], "is cancelled and cannot be cancelled"),
        ("resume", [TRAINED, None, None, None], "waits for its next stage; only a paused plan"),
        (
            "cancel",
            [TRAINED, [stage("extraction", "completed")], [stage("rendering", "completed")], None],
            "has rendered its units, and the opening of a study cannot be cancelled",
        ),
    ],
)
def test_a_plan_whose_state_does_not_allow_it_is_left_alone(
    verb: Verb, stages: list[list[Stage] | None], message: str
) -> None:
    """Conflict says why, and nothing is waited for."""
    four = Four().set(*stages)
    with four.serving(), pytest.raises(Conflict, match=message):
        act_on_plan(four.services, PLAN, verb)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_plan_between_two_services_is_acted_on_when_the_next_has_begun(verb: Verb) -> None:
    """The extraction has not begun yet: the command waits for it, says so once, and then acts on it."""
    four, notices = Four().set(TRAINED, None, None, None), Notices()
    begun = {PLAN: [stage("extraction", "queued")]}
    four.each[1].on_read = lambda reads: four.each[1].stages.update(begun) if reads == 2 else None
    with four.serving():
        stages = act_on_plan(four.services, PLAN, verb, notices)
    assert stages[-1]["state"] == {"pause": "paused", "cancel": "cancelled"}[verb]
    assert notices.lines == ["plan plan-1 is between two stages; waiting until the next one has begun"]


def test_a_stage_that_completes_meanwhile_is_not_an_error() -> None:
    """The run completes just before it is cancelled: its service refuses, and the extraction is cancelled instead."""
    four = Four().set([stage("training", "running")], None, None, None)

    def complete(reads: int) -> None:
        if reads == 1:  # the cancel, after the first read
            four.set([stage("training", "completed")], [stage("extraction", "queued")], None, None)

    four.each[0].on_read = complete
    with four.serving():
        act_on_plan(four.services, PLAN, "cancel")
    assert four.states() == ["completed", "cancelled", "", ""]


def test_a_start_is_sent_again_until_it_is_answered() -> None:
    """A plan has an id of its own, so `plan start` may be sent twice: here its first connection is cut."""
    four = Four()
    started: list[dict[str, Any]] = []
    app = four.each[0].app()

    @app.post("/v1/plans")
    def start(request: dict[str, Any]) -> dict[str, Any]:
        started.append(request)
        four.each[0].stages = {request["plan_id"]: []}
        if len(started) == 1:
            relay.cut()
            relay.mend()
        return {"plan_id": request["plan_id"], "stages": []}

    with serving_http(app) as direct, relaying(int(direct.split(":")[2])) as relay, ExitStack() as stack:
        four.ports[0] = relay.port
        for service, port in zip(four.each[1:], four.ports[1:], strict=True):
            stack.enter_context(serving_http(service.app(), port=port))
        done = four.run("plan", "start", "--run", "run-1")
    assert done.exit_code == 0, done.output
    assert len(started) == 2 and started[0] == started[1]
    assert json.loads(done.stdout)["plan_id"] == started[0]["plan_id"]


def test_plans_are_listed() -> None:
    """`plan list` passes its window and prints the plans of the training service."""
    four, queries = Four(), list[tuple[int, int]]()
    app = four.each[0].app()

    @app.get("/v1/plans")
    def plans(offset: int, limit: int) -> dict[str, Any]:
        queries.append((offset, limit))
        return {"plans": [{"plan_id": PLAN}], "total": 1, "next_offset": None}

    with serving_http(app, port=four.ports[0]):
        done = four.run("plan", "list", "--limit", "5", "--offset", "10")
    assert (json.loads(done.stdout), queries) == ([{"plan_id": PLAN}], [(10, 5)])
