"""The workflow of renderings."""

from pathlib import Path
from typing import Any

import pytest
from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.patch_rendering.v1 import events_pb2
from primitives.patch_rendering.v1 import patch_rendering_pb2 as pb

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, JobStopped, NotFound, Unavailable
from services.common.grpc import to_message
from services.common.http.streams import Streams
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey
from services.imaging.manifests import (
    ExtractedLayer,
    ExtractionManifest,
    NetworkRef,
    RenderedGroup,
    RenderingManifest,
)
from services.patch_rendering.rpc import RenderingServicer
from services.patch_rendering.schemas import StartRenderingRequest
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.specs import RenderedUnits, RenderSpec
from services.patch_rendering.tables import Base, RenderingRow
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings
from tests.fakes.ports import FakeRunner, World

REF = ObjectRef(bucket="any-bucket", key="k", sha256="0" * 64, size=1)


class Rendering(World):
    """The service's use cases, and the event that completes an extraction of two layers (5 and 3 units)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        settings = RenderingSettings(group_units=2)
        self.renderings = Renderings(self.ports, self.runner, settings)  # type: ignore[arg-type]
        self.queries = Queries(self.ports)
        self.pictures = UnitPictures(self.ports, settings.quality)
        layers = tuple(
            ExtractedLayer(
                name=name, module=name, units=units, height=2, width=2, top=REF, sample=REF, maxima=(REF,),
                correlation=REF, statistics=REF, ranking=REF, ranking_method="selectivity",
            )
            for name, units in (("conv1", 5), ("conv2", 3))
        )  # fmt: skip
        network = NetworkRef(
            architecture="alexnet", classes=("a", "b"), run_id="run-1", checkpoint_id="c", checkpoint=REF
        )
        manifest = ExtractionManifest(
            extraction_id="extraction-1",
            network=network,
            image_size=64,
            dataset=REF,
            split="val",
            patches=9,
            top_k=4,
            layers=layers,
        )
        ref = self.blobs.put("activation-extraction", "manifest.json", manifest.model_dump_json().encode())
        self.event = extraction_events.ExtractionCompleted(
            extraction_id="extraction-1",
            manifest=to_message(ref, object_pb2.ObjectRef),
            plan=plan_pb2.Plan(plan_id="plan-1", rendering=plan_pb2.PlanRendering(size=100)),
        )
        self.runner.answers["render_units"] = rendered

    def begin(self) -> list[Any]:
        """Handle the event and return the commands that it sends."""
        self.renderings.extraction_completed(self.event)
        return self.sent()


def rendered(spec: RenderSpec) -> RenderedUnits:
    """Return the result of a job, with four pictures per unit."""
    group = RenderedGroup(first=spec.first, last=spec.last, pack=REF, pictures=REF, units=REF)
    return RenderedUnits(group=group, pictures=4 * (spec.last - spec.first + 1))


@pytest.fixture
def rendering(tmp_path: Path) -> Rendering:
    return Rendering(tmp_path)


def test_a_plan_sends_one_command_per_group(rendering: Rendering) -> None:
    """Every unit of every layer is in exactly one group. The same event delivered again sends no commands."""
    commands = rendering.begin()
    assert [(c.layer, c.first, c.last) for c in commands] == [
        ("conv1", 0, 1), ("conv1", 2, 3), ("conv1", 4, 4), ("conv2", 0, 1), ("conv2", 2, 2),
    ]  # fmt: skip
    assert rendering.begin() == []


def test_the_last_group_writes_the_manifest_and_publishes_once(rendering: Rendering) -> None:
    """If the commands arrive in any order and twice, there is one manifest with its groups in order, and one event."""
    commands = rendering.begin()
    events = []
    for command in [*reversed(commands), *commands]:
        rendering.renderings.render_units(command)
        events += rendering.sent()
    [event] = events
    assert isinstance(event, events_pb2.RenderingCompleted)
    view = rendering.queries.get(event.rendering_id)
    assert (view.state, view.pictures, view.groups_done) == ("completed", 32, 5)
    assert view.manifest is not None
    manifest = RenderingManifest.model_validate_json(read_verified(rendering.blobs, view.manifest))
    assert [[g.first for g in layer.groups] for layer in manifest.layers] == [[0, 2, 4], [0, 2]]
    assert (manifest.size, manifest.pictures, event.plan.plan_id) == (100, 32, "plan-1")
    assert len(rendering.runner.calls) == 5


def test_a_known_extraction_can_be_rendered_again(rendering: Rendering) -> None:
    """A caller may render a recorded extraction again at another size. An extraction without a record is not found."""
    with pytest.raises(NotFound, match="no completed extraction 'extraction-1'"):
        rendering.renderings.start(StartRenderingRequest(extraction_id="extraction-1"))
    rendering.begin()
    rendering_id = rendering.renderings.start(StartRenderingRequest(extraction_id="extraction-1", size=64))
    assert rendering.queries.get(rendering_id).size == 64
    assert len(rendering.sent()) == 5


def test_a_failure_is_recorded_and_published_once(rendering: Rendering) -> None:
    """A parked command fails the rendering with the command's reason, and no other group is rendered."""
    commands = rendering.begin()
    rendering.renderings.command_parked(commands[0], "disk is full")
    rendering.renderings.command_parked(commands[1], "later")
    [event] = rendering.sent()
    assert (event.plan_id, event.error) == ("plan-1", "disk is full")
    rendering.renderings.render_units(commands[2])
    assert rendering.runner.calls == []
    assert rendering.queries.plan("plan-1").stages[0].error == "disk is full"


def test_a_plan_that_cannot_begin_shows_the_reason(rendering: Rendering) -> None:
    """A parked event leaves a failed stage with the reason."""
    rendering.renderings.plan_failed(rendering.event, "manifest is gone")
    [stage] = rendering.queries.plan("plan-1").stages
    assert (stage.name, stage.state, stage.error) == ("rendering", "failed", "manifest is gone")


def test_a_replayed_group_sends_the_missing_groups(rendering: Rendering) -> None:
    """The rendering is queued again. Groups whose pictures are gone are rendered again too."""
    commands = rendering.begin()
    rendering.renderings.render_units(commands[0])
    rendering.renderings.command_parked(commands[1], "disk is full")
    rendering.sent()
    assert not rendering.renderings.command_replayed(commands[1]).needed
    assert rendering.sent() == commands, "the fake stores no pictures"
    assert rendering.queries.plan("plan-1").stages[0].state == "queued"


def test_a_replayed_event_begins_the_plans_rendering(rendering: Rendering) -> None:
    """The failed stage that stood for it is replaced when ExtractionCompleted is handled."""
    rendering.renderings.plan_failed(rendering.event, "manifest is gone")
    assert rendering.begin() == []
    assert "manifest is gone" in rendering.renderings.plan_replayed(rendering.event).effect
    assert len(rendering.begin()) == 5
    rendering.event.ClearField("plan")
    assert rendering.renderings.plan_replayed(rendering.event) is EVENT_SENT


def test_a_start_with_a_key_is_done_once(rendering: Rendering) -> None:
    """The same request with the same key returns the same rendering."""
    rendering.begin()
    request, key = StartRenderingRequest(extraction_id="extraction-1", size=64), CallKey("ci", "key-1")
    first = rendering.renderings.start(request, key)
    assert len(rendering.sent()) == 5
    assert (rendering.renderings.start(request, key), rendering.sent()) == (first, [])


def test_cancelling_ends_a_rendering(rendering: Rendering) -> None:
    """A cancelled rendering renders no more groups and cannot be cancelled twice."""
    commands = rendering.begin()
    rendering.renderings.act("cancel", commands[0].rendering_id)
    rendering.renderings.render_units(commands[0])
    assert rendering.runner.calls == []
    with pytest.raises(Conflict, match="is cancelled"):
        rendering.renderings.act("cancel", commands[0].rendering_id)


def test_a_paused_rendering_keeps_its_groups_and_continues_with_the_rest(rendering: Rendering) -> None:
    """While it is paused, its commands are acknowledged without work, also after a restart. Resuming enqueues the
    missing groups."""
    commands = rendering.begin()
    rendering.renderings.render_units(commands[1])

    def pause_meanwhile(_: RenderSpec) -> RenderedUnits:
        rendering.renderings.act_on_plan("pause", "plan-1")
        raise JobStopped("noticed")

    rendering.runner.answers["render_units"] = pause_meanwhile
    rendering.renderings.render_units(commands[0])
    rendering.renderings.render_units(commands[2])
    rendering.renderings.recover()
    assert (len(rendering.runner.calls), rendering.sent()) == (2, [])
    rendering.runner.answers["render_units"] = rendered
    rendering.renderings.act("resume", commands[0].rendering_id)
    left = [command for number, command in enumerate(commands) if number != 1]
    assert rendering.sent() == left
    for command in [*commands, *left]:
        rendering.renderings.render_units(command)
    assert len(rendering.runner.calls) == 2 + len(left)
    [event] = rendering.sent()
    assert isinstance(event, events_pb2.RenderingCompleted)


def test_a_pause_at_the_last_moment_loses_nothing(rendering: Rendering) -> None:
    """If the rendering is paused while its last group finishes, the group is recorded. Resuming completes the rendering
    and publishes it."""
    commands = rendering.begin()
    for command in commands[:-1]:
        rendering.renderings.render_units(command)

    def pause_meanwhile(spec: RenderSpec) -> RenderedUnits:
        rendering.renderings.act("pause", commands[0].rendering_id)
        return rendered(spec)

    rendering.runner.answers["render_units"] = pause_meanwhile
    rendering.renderings.render_units(commands[-1])
    assert (rendering.sent(), rendering.queries.get(commands[0].rendering_id).state) == ([], "paused")
    rendering.renderings.act("resume", commands[0].rendering_id)
    [again] = rendering.sent()
    assert isinstance(again, events_pb2.RenderUnits)
    rendering.renderings.render_units(again)
    assert [type(event).__name__ for event in rendering.sent()] == ["RenderingCompleted"]
    with pytest.raises(NotFound, match="no rendering of a plan 'plan-2'"):
        rendering.renderings.act_on_plan("pause", "plan-2")


def test_a_store_that_is_away_holds_no_row(rendering: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction waits for the store: with the store away, a pause and a resume succeed, and the last group is
    recorded. Its command, delivered again, completes the rendering without rendering again."""
    commands = rendering.begin()
    for command in commands[:-1]:
        rendering.renderings.render_units(command)

    def away(*_: object) -> None:
        with rendering.ports.records.transaction() as session:  # on SQLite it waits for any other transaction
            session.get(RenderingRow, commands[0].rendering_id, with_for_update=True)
        raise Unavailable("the store is away")

    for call in ("get", "get_file", "get_range", "put", "put_file"):
        monkeypatch.setattr(rendering.ports.blobs, call, away)
    with pytest.raises(Unavailable, match="the store is away"):
        rendering.renderings.render_units(commands[-1])
    rendering.renderings.act("pause", commands[0].rendering_id)
    rendering.renderings.act("resume", commands[0].rendering_id)
    monkeypatch.undo()
    [again] = rendering.sent()
    rendering.renderings.render_units(again)  # type: ignore[arg-type]
    assert len(rendering.runner.calls) == len(commands)
    assert [type(event).__name__ for event in rendering.sent()] == ["RenderingCompleted"]


def test_a_restart_enqueues_missing_groups(rendering: Rendering) -> None:
    """`recover` sends exactly the commands of the missing groups."""
    commands = rendering.begin()
    rendering.renderings.render_units(commands[1])
    rendering.renderings.recover()
    left = [command for number, command in enumerate(commands) if number != 1]
    assert rendering.sent() == left
    # The groups stay the same under another setting.
    again = Renderings(rendering.ports, rendering.runner, RenderingSettings(group_units=3))  # type: ignore[arg-type]
    again.recover()
    assert rendering.sent() == left
    for command in left:
        again.render_units(command)
    [event] = rendering.sent()
    again.recover()
    assert rendering.sent() == [event], "an event that was lost with the process would never come again"


def test_an_unfinished_rendering_has_no_pictures(rendering: Rendering) -> None:
    """Requesting a picture of an unfinished rendering is a conflict that says so."""
    commands = rendering.begin()
    with pytest.raises(Conflict, match="is queued; it has pictures once it is completed"):
        rendering.queries.picture(commands[0].rendering_id, "conv1", 0, 1)


VERBS = (("Pause", "paused"), ("Resume", "queued"), ("Cancel", "cancelled"))


def test_grpc_pauses_resumes_and_cancels(rendering: Rendering) -> None:
    """Each verb answers with the resulting state, for a rendering and for its plan."""
    servicer = RenderingServicer(rendering.renderings, rendering.queries, rendering.pictures, Streams())
    rendering.begin()
    rendering_id = rendering.renderings.start(StartRenderingRequest(extraction_id="extraction-1"))
    for verb, state in VERBS:
        request = getattr(pb, f"{verb}RenderingRequest")(rendering_id=rendering_id)
        assert getattr(servicer, f"{verb}Rendering")(request, None).rendering.state == state
    assert rendering.queries.plan("plan-1").stages[0].state == "queued"
    for verb, state in VERBS:
        request = getattr(pb, f"{verb}PlanRequest")(plan_id="plan-1")
        [stage] = getattr(servicer, f"{verb}Plan")(request, None).stages
        assert stage.state == state
