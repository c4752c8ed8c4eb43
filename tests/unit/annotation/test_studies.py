"""Turning a rendering into a study, and reading its lists."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from primitives.annotation.v1 import events_pb2
from sqlalchemy import func, select

from services.annotation.opening import choose_subset
from services.annotation.schemas import ChangeStudyRequest, OpenStudyRequest, Place
from services.annotation.tables import Base, LayerRow, MammogramRow, RankRow, StudyRow, UnitRow
from services.annotation.workflow import studies as studies_module
from services.annotation.workflow.studies import Studies
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey
from tests.fakes.annotation import LAYER, SILENT, YES, Annotation
from tests.fakes.ports import World
from tests.fakes.rendering import NOTICE, FakeRendering, store_rendering


class Waiting(World):
    """The service with a stored rendering whose completion it has not received."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.studies = Studies(self.ports)
        self.rendering: FakeRendering = store_rendering(self.blobs, size=16)

    def count(self, table: type[Any]) -> int:
        """The number of rows of a table."""
        with self.ports.records.reading() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_a_completed_rendering_of_a_plan_opens_its_study(waiting: Waiting) -> None:
    """The event enqueues one study. Opening it stores all units, publishes StudyOpened and completes the stage."""
    with pytest.raises(NotFound, match="plan-1"):
        waiting.studies.plan("plan-1")
    waiting.studies.rendering_completed(waiting.rendering.completed("plan-1", title="First"))
    [command] = waiting.sent()
    assert waiting.studies.plan("plan-1").stages[0].state == "queued"
    waiting.studies.open(command)
    [event] = waiting.sent()
    assert isinstance(event, events_pb2.StudyOpened)
    assert (event.plan_id, event.rendering_id, event.layers, event.units) == ("plan-1", "rendering-1", 2, 40)
    [stage] = waiting.studies.plan("plan-1").stages
    assert (stage.name, stage.state, stage.id) == ("study", "completed", event.study_id)
    assert stage.seconds > 0
    study = waiting.studies.get(event.study_id)
    assert (study.title, study.notice, study.classes[-1]) == ("First", NOTICE, "cancer")
    assert [(layer.name, layer.units, layer.silent) for layer in study.layers] == [("block4", 30, 1), ("block6", 10, 0)]


def test_repeated_messages_open_one_study(waiting: Waiting) -> None:
    """A repeated event or command makes no second study and no second StudyOpened."""
    event = waiting.rendering.completed("plan-1")
    waiting.studies.rendering_completed(event)
    waiting.studies.rendering_completed(event)
    [command] = waiting.sent()
    waiting.studies.open(command)
    waiting.studies.open(command)
    assert len(waiting.sent()) == 1
    assert (waiting.count(StudyRow), waiting.count(UnitRow)) == (1, 40)


def test_a_rendering_without_a_plan_is_opened_by_a_call(waiting: Waiting) -> None:
    """Without a plan no study opens. A call opens a recorded rendering, more than once too, and refuses others."""
    waiting.studies.rendering_completed(waiting.rendering.completed(""))
    assert waiting.sent() == []
    with pytest.raises(NotFound, match="rendering-9"):
        waiting.studies.start(OpenStudyRequest(rendering_id="rendering-9"))
    first = waiting.studies.start(OpenStudyRequest(rendering_id="rendering-1"))
    second = waiting.studies.start(OpenStudyRequest(rendering_id="rendering-1", title="Again"))
    for command in waiting.sent():
        waiting.studies.open(command)
    assert [study.state for study in waiting.studies.all().studies] == ["completed", "completed"]
    assert waiting.studies.get(first.study_id).title == "efficientnet_lite0 on sample"
    assert waiting.studies.get(second.study_id).title == "Again"


def test_opening_that_fails_halfway_leaves_nothing(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the last insert fails, no row of the study is stored; the retry succeeds."""
    waiting.studies.rendering_completed(waiting.rendering.completed("plan-1"))
    [command] = waiting.sent()
    insert = studies_module._insert

    def fail_at_ranks(session: Any, table: type[Any], rows: Any) -> None:
        if table is RankRow:
            raise OSError("the disk is full")
        insert(session, table, rows)

    monkeypatch.setattr(studies_module, "_insert", fail_at_ranks)
    with pytest.raises(OSError, match="full"):
        waiting.studies.open(command)
    assert [waiting.count(table) for table in (LayerRow, UnitRow, RankRow, MammogramRow)] == [0, 0, 0, 0]
    assert waiting.sent() == []
    monkeypatch.undo()
    waiting.studies.open(command)
    assert waiting.count(RankRow) == 120


def test_a_parked_message_fails_the_study_with_the_reason(waiting: Waiting) -> None:
    """The plan's stage fails with the reason, such as a missing object, for a parked command and a parked event."""
    group = waiting.rendering.manifest.layers[1].groups[0].units
    waiting.blobs.delete(group.bucket, group.key)
    waiting.studies.rendering_completed(waiting.rendering.completed("plan-1"))
    [command] = waiting.sent()
    with pytest.raises(NotFound, match=group.key) as failure:
        waiting.studies.open(command)
    waiting.studies.open_parked(command, str(failure.value))
    [stage] = waiting.studies.plan("plan-1").stages
    assert stage.state == "failed"
    assert group.key in stage.error
    waiting.studies.rendering_parked(waiting.rendering.completed("plan-2"), "no such thing")
    assert waiting.studies.plan("plan-2").stages[0].error == "no such thing"
    assert [type(event).__name__ for event in waiting.sent()] == ["StudyFailed", "StudyFailed"]


def test_a_replay_opens_the_study_that_parking_failed(waiting: Waiting) -> None:
    """After the cause is removed, a replay of OpenStudy opens the study; a replay of RenderingCompleted records it."""
    waiting.studies.rendering_completed(waiting.rendering.completed("plan-1"))
    [command] = waiting.sent()
    waiting.studies.open_parked(command, "broken")
    assert [type(event).__name__ for event in waiting.sent()] == ["StudyFailed"]
    replay = waiting.studies.open_replayed(command)
    assert not replay.needed and replay.effect.endswith("It had failed: broken")
    [again] = waiting.sent()
    waiting.studies.open(again)
    assert [type(event).__name__ for event in waiting.sent()] == ["StudyOpened"]
    with pytest.raises(Conflict, match="is completed, so this message has no effect"):
        waiting.studies.open_replayed(command)
    second = waiting.rendering.completed("plan-2", title="Second")
    waiting.studies.rendering_parked(second, "no such thing")
    assert "no such thing" in waiting.studies.rendering_replayed(second).effect
    waiting.sent()
    waiting.studies.rendering_completed(second)
    assert len(waiting.sent()) == 1
    assert waiting.studies.plan("plan-2").stages[0].state == "queued"
    assert waiting.studies.rendering_replayed(second) is EVENT_SENT


def test_a_study_with_a_key_is_opened_once(waiting: Waiting) -> None:
    """The same request with the same key returns the same study; another request is refused."""
    waiting.studies.rendering_completed(waiting.rendering.completed(""))
    request, key = OpenStudyRequest(rendering_id="rendering-1", title="A"), CallKey("ci", "key-1")
    first = waiting.studies.start(request, key)
    assert len(waiting.sent()) == 1
    assert waiting.studies.start(request, key).study_id == first.study_id
    with pytest.raises(InvalidInput, match="sent before with another request"):
        waiting.studies.start(OpenStudyRequest(rendering_id="rendering-1", title="B"), key)
    assert waiting.sent() == []


def test_recover_enqueues_unopened_studies_again(waiting: Waiting) -> None:
    """recover sends the command again for queued and running studies, not for open ones."""
    waiting.studies.rendering_completed(waiting.rendering.completed("plan-1"))
    [command] = waiting.sent()
    waiting.studies.recover()
    assert waiting.sent() == [command]
    waiting.studies.open(command)
    waiting.sent()
    waiting.studies.recover()
    assert waiting.sent() == []


def test_the_subset_skips_silent_units() -> None:
    """The subset has the first units of each class; the next unit replaces a silent one."""
    ranks = [{"label": label, "rank": rank, "unit": unit} for label, units in enumerate(([3, 1, 2], [1, 0, 3]))
             for rank, unit in enumerate(units, 1)]  # fmt: skip
    assert choose_subset(ranks, {1}, 2) == {3, 2, 0}
    assert choose_subset(ranks, set(), 1) == {3, 1}


def test_lists_have_their_units_in_order(annotation: Annotation) -> None:
    """`all` has every unit by number, `subset` no silent unit, `ranked` the ranking of a class; filters work."""
    reader = replace(annotation.readers.named("Ana"), sees_units=True)

    def listed(**place: Any) -> list[int]:
        part = annotation.units.part(reader, annotation.study_id, LAYER, Place(**place), (0, 100))
        assert part.total == len(part.units)
        return [unit.unit for unit in part.units]

    assert listed() == list(range(30))
    subset = listed(list="subset")
    assert SILENT not in subset
    assert subset == sorted(subset)
    assert len(subset) == annotation.studies.get(annotation.study_id).layers[0].subset.units
    ranked = annotation.units.part(reader, annotation.study_id, LAYER, Place(list="ranked"), (0, 3)).units
    assert [(unit.label, unit.rank, unit.count) for unit in ranked] == [(2, 1, 99), (2, 2, 98), (2, 3, 97)]
    assert listed(list="ranked", label=0) != listed(list="ranked", label=1)
    annotation.responses.put(reader, annotation.key(3), YES, 0)
    assert listed(filter="answered") == [3]
    assert listed(filter="unanswered") == [unit for unit in range(30) if unit not in (3, SILENT)]


def test_a_reader_who_sees_no_ranks_reads_the_ranked_list_by_number(annotation: Annotation) -> None:
    """While a study withholds labels, its ranked list has all ranked units by number, without class, rank, score and
    count; a class in the request changes nothing."""
    reader = annotation.readers.named("Ana")
    for label in (None, 0):
        part = annotation.units.part(reader, annotation.study_id, LAYER, Place(list="ranked", label=label), (0, 100))
        assert [unit.unit for unit in part.units] == list(range(30))
        assert {(unit.label, unit.rank, unit.score, unit.count) for unit in part.units} == {(None, None, None, None)}
    assert annotation.units.neighbours(reader, annotation.key(3), Place(list="ranked", label=0)).position == 4
    assert not annotation.studies.get(annotation.study_id, reader).ranks_shown


def test_a_study_is_renamed(annotation: Annotation) -> None:
    """The new title is one line; nothing else of the study changes. An invisible title is refused."""
    before = annotation.studies.get(annotation.study_id)
    after = annotation.studies.change(annotation.study_id, ChangeStudyRequest(title=" Deep\n layers "))
    assert after == before.model_copy(update={"title": "Deep layers"})
    for title in ("\u200b", " \n "):
        with pytest.raises(InvalidInput, match="visible characters"):
            annotation.studies.change(annotation.study_id, ChangeStudyRequest(title=title))
    assert annotation.studies.get(annotation.study_id).title == "Deep layers"
