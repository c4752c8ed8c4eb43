"""The use cases of extractions."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from primitives.activation_extraction.v1 import activation_extraction_pb2 as pb
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2 as training_events

from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.rpc import ExtractionServicer
from services.activation_extraction.schemas import StartExtractionRequest
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.specs import ShardResult, ShardSpec, ShardState
from services.activation_extraction.tables import Base
from services.activation_extraction.workflow import extractions
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.activation_extraction.workflow.units import Units
from services.common.blobs import ObjectRef
from services.common.errors import Conflict, InvalidInput, JobStopped, NotFound
from services.common.grpc import to_message
from services.common.http.streams import Streams
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey
from tests.fakes.data import store_checkpoint, store_dataset
from tests.fakes.ports import FakeRunner, World


def state_of(shard: int) -> ShardState:
    """The state of a shard, as its job returns it."""
    return ShardState(state=ObjectRef(bucket="b", key=str(shard), sha256="0", size=1), maxima={})


class Extraction(World):
    """The use cases, and the event that a run is completed, with three shards of validation patches."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.extractions = Extractions(self.ports, self.runner, ExtractionSettings())  # type: ignore[arg-type]
        self.queries = Queries(self.ports)
        self.units = Units(self.queries, AnalysisQueries(self.ports))
        data, dataset = store_dataset(self.blobs, folder / "ddsm", {"train": 3, "val": 9}, shard_patches=3)
        checkpoint, _ = store_checkpoint(self.blobs, data.manifest, "test_resnet", 64)
        self.event = training_events.RunCompleted(
            run_id="run-1",
            dataset=to_message(dataset, object_pb2.ObjectRef),
            checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
            plan=plan_pb2.Plan(
                plan_id="plan-1", extraction=plan_pb2.PlanExtraction(split="val", layers=["layer4"], top_k=4)
            ),
        )
        self.manifest = self.blobs.put("activation-extraction", "manifest.json", b"{}")
        self.runner.answers["extract_shard"] = lambda spec: ShardResult(patches=3, state=state_of(spec.shard))
        self.runner.answers["merge_extraction"] = lambda _: self.manifest

    def begin(self) -> list[Any]:
        """Handle the event, and return the commands that follow."""
        self.extractions.run_completed(self.event)
        return self.sent()


@pytest.fixture
def extraction(tmp_path: Path) -> Extraction:
    return Extraction(tmp_path)


def test_a_plan_enqueues_one_command_per_shard(extraction: Extraction) -> None:
    """RunCompleted with a plan enqueues one command per shard, and nothing when it is delivered twice."""
    commands = extraction.begin()
    assert [command.shard for command in commands] == [0, 1, 2]
    assert extraction.begin() == []
    [stage] = extraction.queries.plan("plan-1").stages
    assert (stage.name, stage.state) == ("extraction", "queued")


def test_a_known_plan_is_not_read_again(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    """RunCompleted of a known plan does not read the checkpoint: a restart publishes the event of every run again."""
    extraction.begin()

    def refuse(*_: object) -> None:
        raise AssertionError("the checkpoint was opened")

    monkeypatch.setattr(extractions, "open_checkpoint", refuse)
    assert extraction.begin() == []


def test_the_last_shard_enqueues_the_merge_once(extraction: Extraction) -> None:
    """There is one merge, over the shards in order, and one event, for any order of messages that all arrive twice."""
    commands = extraction.begin()
    merges = []
    for number in (2, 0, 2, 1, 1, 0):
        extraction.extractions.extract_shard(commands[number])
        merges += extraction.sent()
    [merge] = merges
    extraction.extractions.merge_shards(merge)
    extraction.extractions.merge_shards(merge)
    [event] = extraction.sent()
    assert isinstance(event, events_pb2.ExtractionCompleted)
    assert (event.plan.plan_id, event.manifest.sha256) == ("plan-1", extraction.manifest.sha256)
    names = [name for name, _ in extraction.runner.calls]
    assert (names.count("extract_shard"), names.count("merge_extraction")) == (3, 1)
    [spec] = [spec for name, spec in extraction.runner.calls if name == "merge_extraction"]
    assert spec.shards == [state_of(0), state_of(1), state_of(2)]


def test_a_merge_before_the_last_shard_does_nothing(extraction: Extraction) -> None:
    """MergeExtraction is ignored while a shard is missing, and the last shard enqueues it again. A broker can still
    have the command when the records were restored to an earlier moment."""
    commands = extraction.begin()
    for command in commands[:2]:
        extraction.extractions.extract_shard(command)
    extraction.extractions.merge_shards(events_pb2.MergeExtraction(extraction_id=commands[0].extraction_id))
    assert extraction.queries.get(commands[0].extraction_id).state == "running"
    assert extraction.sent() == []
    extraction.extractions.extract_shard(commands[2])
    [merge] = extraction.sent()
    extraction.extractions.merge_shards(merge)
    assert [type(event).__name__ for event in extraction.sent()] == ["ExtractionCompleted"]


def test_a_known_run_can_be_extracted_again(extraction: Extraction) -> None:
    """start accepts a run whose RunCompleted was received, and raises NotFound for any other run."""
    with pytest.raises(NotFound, match="no completed run 'run-1'"):
        extraction.extractions.start(StartExtractionRequest(run_id="run-1"))
    extraction.begin()
    extraction_id = extraction.extractions.start(StartExtractionRequest(run_id="run-1", split="train"))
    view = extraction.queries.get(extraction_id)
    assert (view.layers, view.shards, view.split, view.plan_id) == (["layer3", "layer4"], 1, "train", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (StartExtractionRequest(run_id="run-1", layers=["layer9"]), "no layer 'layer9'; it has"),
        (StartExtractionRequest(run_id="run-1", split="test"), "no split 'test'; it has train, val"),
    ],
)
def test_a_missing_layer_or_split_is_refused(
    extraction: Extraction, options: StartExtractionRequest, message: str
) -> None:
    """start raises InvalidInput that names the existing layers or splits, and records nothing."""
    extraction.begin()
    before = len(extraction.queries.all().extractions)
    with pytest.raises(InvalidInput, match=message):
        extraction.extractions.start(options)
    assert len(extraction.queries.all().extractions) == before
    assert extraction.sent() == []


def test_a_failure_is_recorded_and_published_once(extraction: Extraction) -> None:
    """A parked command fails the extraction with its reason. Later commands and reasons change nothing."""
    commands = extraction.begin()
    extraction.extractions.command_parked(commands[1], "patch 5 is not a complete image")
    extraction.extractions.command_parked(commands[2], "later")
    [event] = extraction.sent()
    assert (event.plan_id, event.error) == ("plan-1", "patch 5 is not a complete image")
    extraction.extractions.extract_shard(commands[0])
    assert extraction.runner.calls == []
    assert extraction.queries.plan("plan-1").stages[0].error == "patch 5 is not a complete image"


def test_a_plan_that_cannot_begin_shows_the_reason(extraction: Extraction) -> None:
    """A parked event leaves a failed stage with the reason, which callers see in the plan."""
    extraction.extractions.plan_failed(extraction.event, "object training/c has sha256 x; expected y")
    [stage] = extraction.queries.plan("plan-1").stages
    assert (stage.state, stage.error) == ("failed", "object training/c has sha256 x; expected y")


def test_a_replayed_shard_completes_the_plans_extraction(extraction: Extraction) -> None:
    """The shards that are not done are sent again, and the plan continues: ExtractionCompleted is published after
    ExtractionFailed."""
    stored = extraction.blobs.put("activation-extraction", "state", b"state")
    extraction.runner.answers["extract_shard"] = lambda _: ShardResult(
        patches=3, state=ShardState(state=stored, maxima={"layer4": stored})
    )
    commands = extraction.begin()
    extraction.extractions.extract_shard(commands[0])
    extraction.extractions.command_parked(commands[1], "patch 5 is not a complete image")
    assert [type(event).__name__ for event in extraction.sent()] == ["ExtractionFailed"]
    assert not extraction.extractions.command_replayed(commands[1]).needed
    assert extraction.sent() == commands[1:]
    for command in commands[1:]:
        extraction.extractions.extract_shard(command)
    [merge] = extraction.sent()
    extraction.extractions.merge_shards(merge)
    [event] = extraction.sent()
    assert isinstance(event, events_pb2.ExtractionCompleted) and event.plan.plan_id == "plan-1"


def test_a_replay_after_the_collector_extracts_again(extraction: Extraction) -> None:
    """The states of a failed extraction are garbage: shards whose states are gone are extracted again."""
    commands = extraction.begin()
    extraction.extractions.extract_shard(commands[0])
    extraction.extractions.command_parked(commands[1], "broken")
    extraction.sent()
    extraction.extractions.command_replayed(commands[1])
    assert extraction.sent() == commands


def test_a_replayed_event_begins_the_plans_extraction(extraction: Extraction) -> None:
    """The failed stage that stood for it is replaced when RunCompleted is handled."""
    extraction.extractions.plan_failed(extraction.event, "object training/c has sha256 x; expected y")
    assert extraction.begin() == []
    replay = extraction.extractions.plan_replayed(extraction.event)
    assert replay.needed and "object training/c has sha256 x" in replay.effect
    assert [command.shard for command in extraction.begin()] == [0, 1, 2]
    assert extraction.queries.plan("plan-1").stages[0].state == "queued"
    assert extraction.extractions.plan_replayed(extraction.event) is EVENT_SENT
    extraction.event.ClearField("plan")
    assert extraction.extractions.plan_replayed(extraction.event) is EVENT_SENT


def test_a_start_with_a_key_is_done_once(extraction: Extraction) -> None:
    """The same request with the same key returns the same extraction."""
    extraction.begin()
    request, key = StartExtractionRequest(run_id="run-1", split="train"), CallKey("ci", "key-1")
    first = extraction.extractions.start(request, key)
    assert len(extraction.sent()) == 1
    assert (extraction.extractions.start(request, key), extraction.sent()) == (first, [])


def test_a_cancelled_extraction_performs_nothing_more(extraction: Extraction) -> None:
    """A cancel stops the running job and all later shards. A second cancel is a Conflict."""
    commands = extraction.begin()
    extraction_id = commands[0].extraction_id

    def cancel_meanwhile(_: ShardSpec) -> Any:
        extraction.extractions.act("cancel", extraction_id)
        raise JobStopped("requested")

    extraction.runner.answers["extract_shard"] = cancel_meanwhile
    extraction.extractions.extract_shard(commands[0])
    extraction.extractions.extract_shard(commands[1])
    assert len(extraction.runner.calls) == 1
    assert extraction.queries.get(extraction_id).state == "cancelled"
    with pytest.raises(Conflict, match="is cancelled"):
        extraction.extractions.act("cancel", extraction_id)


def test_a_paused_extraction_resumes_with_the_missing_shards(extraction: Extraction) -> None:
    """Commands of a paused extraction are acknowledged without work, also after a restart. A resume enqueues the
    missing shards, and each shard is extracted once."""
    commands = extraction.begin()
    extraction_id = commands[0].extraction_id
    extraction.extractions.extract_shard(commands[1])

    def pause_meanwhile(_: ShardSpec) -> Any:
        extraction.extractions.act_on_plan("pause", "plan-1")
        raise JobStopped("requested")

    answer, extraction.runner.answers["extract_shard"] = extraction.runner.answers["extract_shard"], pause_meanwhile
    extraction.extractions.extract_shard(commands[0])
    extraction.extractions.extract_shard(commands[2])
    extraction.extractions.recover()
    assert (len(extraction.runner.calls), extraction.sent()) == (2, [])
    assert extraction.queries.get(extraction_id).state == "paused"
    extraction.runner.answers["extract_shard"] = answer
    extraction.extractions.act("resume", extraction_id)
    again = extraction.sent()
    assert again == [commands[0], commands[2]]
    for command in [*commands, *again]:
        extraction.extractions.extract_shard(command)
    assert len(extraction.runner.calls) == 4
    [merge] = extraction.sent()
    assert isinstance(merge, events_pb2.MergeExtraction)


def test_a_pause_at_the_last_moment_loses_nothing(extraction: Extraction) -> None:
    """The last shard is recorded although the extraction was paused meanwhile, so a resume only enqueues the merge. A
    merge that was paused meanwhile is performed again. Nothing is published while the extraction is paused."""
    commands = extraction.begin()
    extraction_id = commands[0].extraction_id

    def pausing(answer: Any) -> Any:
        def pause_meanwhile(spec: Any) -> Any:
            extraction.extractions.act("pause", extraction_id)
            return answer(spec)

        return pause_meanwhile

    shard, merge = extraction.runner.answers["extract_shard"], extraction.runner.answers["merge_extraction"]
    for command in commands[:2]:
        extraction.extractions.extract_shard(command)
    extraction.runner.answers |= {"extract_shard": pausing(shard), "merge_extraction": pausing(merge)}
    extraction.extractions.extract_shard(commands[2])
    for command in extraction.sent():
        extraction.extractions.merge_shards(command)
    assert [name for name, _ in extraction.runner.calls].count("merge_extraction") == 0
    extraction.extractions.act("resume", extraction_id)
    [command] = extraction.sent()
    extraction.extractions.merge_shards(command)
    assert (extraction.sent(), extraction.queries.get(extraction_id).state) == ([], "paused")
    extraction.runner.answers["merge_extraction"] = merge
    extraction.extractions.act("resume", extraction_id)
    assert extraction.sent() == [command]
    extraction.extractions.merge_shards(command)
    assert [type(event).__name__ for event in extraction.sent()] == ["ExtractionCompleted"]


def test_a_restart_enqueues_missing_shards_or_the_merge(extraction: Extraction) -> None:
    """recover enqueues exactly the missing shards, or the merge if there are none, or publishes the event again."""
    commands = extraction.begin()
    extraction.extractions.extract_shard(commands[1])
    extraction.extractions.recover()
    assert [command.shard for command in extraction.sent()] == [0, 2]
    for command in (commands[0], commands[2]):
        extraction.extractions.extract_shard(command)
    [merge] = extraction.sent()
    extraction.extractions.recover()
    assert extraction.sent() == [merge]
    extraction.extractions.merge_shards(merge)
    [event] = extraction.sent()
    extraction.extractions.recover()
    assert extraction.sent() == [event], "an event that was lost with the process must be published again"


def test_only_a_completed_extraction_has_units(extraction: Extraction) -> None:
    """A unit of an unfinished extraction is a Conflict, and an unknown extraction is NotFound."""
    commands = extraction.begin()
    with pytest.raises(Conflict, match="is queued; its units are known once it is completed"):
        extraction.units.get(commands[0].extraction_id, "layer4", 0)
    with pytest.raises(NotFound, match="no extraction 'extraction-x'"):
        extraction.queries.get("extraction-x")


VERBS = (("Pause", "paused"), ("Resume", "queued"), ("Cancel", "cancelled"))


def test_grpc_pauses_resumes_and_cancels(extraction: Extraction) -> None:
    """Each verb returns the new state, for an extraction and for its plan."""
    unused: Any = Mock()
    servicer = ExtractionServicer(
        extraction.extractions, extraction.queries, extraction.units, unused, unused, unused, Streams()
    )
    extraction.begin()
    extraction_id = extraction.extractions.start(StartExtractionRequest(run_id="run-1"))
    for verb, state in VERBS:
        options = getattr(pb, f"{verb}ExtractionRequest")(extraction_id=extraction_id)
        assert getattr(servicer, f"{verb}Extraction")(options, None).extraction.state == state
    assert extraction.queries.plan("plan-1").stages[0].state == "queued"
    for verb, state in VERBS:
        options = getattr(pb, f"{verb}PlanRequest")(plan_id="plan-1")
        [stage] = getattr(servicer, f"{verb}Plan")(options, None).stages
        assert stage.state == state
