"""Only members see a study that is for its members."""

from pathlib import Path

import pytest
from primitives.common.v1 import plan_pb2

from services.annotation.schemas import ChangeStudyRequest, Members, OpenStudyRequest
from services.annotation.workflow.readers import Reader
from services.cli.migrations import migrations_of
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id
from services.common.records import downgrade, migrate, open_records
from services.common.work.plan_options import PlanStudy
from tests.fakes.annotation import FORM, LAYER, YES, Annotation

EVERYONE = Members(everyone=True)


def admit(annotation: Annotation, *names: str) -> None:
    """Make these readers the members of the study."""
    annotation.studies.change(annotation.study_id, ChangeStudyRequest(members=Members(names=list(names))))


def pages_of(annotation: Annotation) -> list[str]:
    """Every address of the study: pages, pictures and calls."""
    study = annotation.study_id
    return [
        annotation.overview_path(), annotation.unit_path(), f"/pictures/{study}/{LAYER}/unit_0001/1.jpg",
        f"/sheets/{study}/{LAYER}/unit_0001.jpg", f"/mammograms/{study}/0.jpg", f"/v1/studies/{study}",
        f"/pictures/{study}/{LAYER}/unit_0001/1.grey", f"/mammograms/{study}/0.grey",
        f"/v1/studies/{study}/layers/{LAYER}/units", annotation.api_path(), "/v1/plans/plan-1",
    ]  # fmt: skip


def test_a_study_is_for_all_readers_until_it_has_members(annotation: Annotation) -> None:
    """Without a list of members every reader sees the study. With one, it does not exist for others: pages, pictures
    and calls are 404 with the words for a study that does not exist, and lists leave it out."""
    ana, ben = annotation.browser("Ana"), annotation.browser("Ben")
    assert [ben.get(path).status_code for path in pages_of(annotation)] == [200] * 11
    ben.answer(annotation.unit_path())
    admit(annotation, "Ana", "Zoë")
    assert [ana.get(path).status_code for path in pages_of(annotation)] == [200] * 11
    assert [ben.get(path).status_code for path in pages_of(annotation)] == [404] * 11
    absent = ben.get(f"/v1/studies/{annotation.study_id}").json()["message"]
    assert absent == ben.get("/v1/studies/study-none").json()["message"].replace("study-none", annotation.study_id)
    assert ben.get("/v1/studies").json() == {"studies": [], "total": 0, "next_offset": None}
    for path in ("/", "/answers", "/summary"):
        page = ben.get(path)
        assert (page.status_code, LAYER in page.text, annotation.study_id in page.text) == (200, False, False)
    assert ben.get("/v1/responses").json() == {"responses": [], "total": 0}
    assert len(ana.get("/v1/studies").json()["studies"]) == 1


def test_a_reader_who_is_no_member_cannot_answer(annotation: Annotation) -> None:
    """The form is 404 and so is the call, and nothing is saved."""
    ben = annotation.browser("Ben")
    form = ben.form(annotation.unit_path())
    admit(annotation, "Ana")
    answer = {"recognizable": "no", "description": ""}
    assert ben.post(annotation.unit_path(), data=form | answer).status_code == 404
    with pytest.raises(NotFound, match="no study"):
        annotation.responses.put(annotation.readers.named("Ben"), annotation.key(), YES, 0)
    assert annotation.responses.summary().readers[1].answered == []


def test_readers_of_other_studies_are_not_named(annotation: Annotation) -> None:
    """The summary names the readers with whom a reader shares a study, and counts only studies that the reader sees."""
    ana, ben, cem = (annotation.readers.named(name) for name in ("Ana", "Ben", "Cem"))
    other = annotation.open_plan("plan-2")
    annotation.responses.put(cem, (other, LAYER, 1), YES, 0)
    annotation.responses.put(ana, annotation.key(2), YES, 0)
    admit(annotation, "Ana", "Ben")
    annotation.studies.change(other, ChangeStudyRequest(members=Members(names=["cem", "Ana"])))
    seen = {one: {r.name: len(r.answered) for r in annotation.responses.summary(reader=one).readers} for one in
            (ana, ben, cem)}  # fmt: skip
    assert seen == {ana: {"Ana": 1, "Ben": 0, "Cem": 1}, ben: {"Ana": 1, "Ben": 0}, cem: {"Ana": 0, "Cem": 1}}


def test_answers_of_a_former_member_are_kept(annotation: Annotation) -> None:
    """A reader who is a member again finds the answers; a study may be closed to all readers, and opened to all."""
    ana = annotation.readers.named("Ana")
    annotation.responses.put(ana, annotation.key(), YES, 0)
    admit(annotation)
    assert annotation.responses.own(ana).total == 0
    assert annotation.studies.all(ana).studies == []
    assert len(annotation.studies.all().studies) == 1
    annotation.studies.change(annotation.study_id, ChangeStudyRequest(members=EVERYONE))
    assert annotation.responses.own(ana).total == 1
    assert annotation.studies.members(annotation.study_id) == EVERYONE


def test_a_study_is_opened_for_members(annotation: Annotation) -> None:
    """A request may name the members, of whom names in another case are one; a name that is not valid is refused."""
    names = ["Zoë", "zoë", "Ana"]
    request = OpenStudyRequest(rendering_id="rendering-1", members=Members(names=names))
    opened = annotation.studies.start(request)
    assert annotation.studies.members(opened.study_id) == Members(names=["Ana", "Zoë"])
    with pytest.raises(NotFound):
        annotation.studies.get(opened.study_id, annotation.readers.named("Ben"))
    with pytest.raises(InvalidInput, match="1 to 80"):
        annotation.studies.start(OpenStudyRequest(rendering_id="rendering-1", members=Members(names=[" "])))
    with pytest.raises(NotFound):
        annotation.studies.members("study-none")


def test_labels_are_shown_earlier_and_never_later(annotation: Annotation) -> None:
    """An owner may show labels earlier and reads what that costs. Later is refused: readers have seen labels."""
    study_id = annotation.studies.start(OpenStudyRequest(rendering_id="rendering-1")).study_id
    assert annotation.studies.get(study_id).labels_shown == "after_list"
    assert annotation.studies.get(study_id).labels_cost == ""
    shown = annotation.studies.change(study_id, ChangeStudyRequest(labels_shown="after_answer"))
    assert (shown.labels_shown, "41 to 56%" in shown.labels_cost) == ("after_answer", True)
    with pytest.raises(Conflict, match="cannot change to after_list"):
        annotation.studies.change(study_id, ChangeStudyRequest(labels_shown="after_list"))
    always = annotation.studies.change(study_id, ChangeStudyRequest(labels_shown="always"))
    assert "No answer of this study is blind" in always.labels_cost


def test_a_plan_leaves_the_default_to_the_service() -> None:
    """A plan without a mode has none in its messages, so that an annotation service of the last version accepts it
    during an upgrade in any order."""
    message = to_message(PlanStudy(), plan_pb2.PlanStudy)
    assert message.labels_shown == ""
    assert to_request(message, PlanStudy) == PlanStudy()


def test_records_of_the_last_version_are_for_all_readers(tmp_path: Path) -> None:
    """After the migration, a study is for all readers and keeps its mode. Answers that were changed are marked: until
    then, a study showed the classes of a unit at its first answer, or always."""
    versions = migrations_of("annotation")
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    migrate(records, versions)
    annotation = Annotation(tmp_path)
    shown = annotation.open_plan("plan-2", labels_shown="always")
    ana = annotation.readers.named("Ana")
    admit(annotation, "Ana")
    for key, version in (
        (annotation.key(0), 0),
        (annotation.key(0), 1),
        (annotation.key(1), 0),
        ((shown, LAYER, 0), 0),
    ):
        annotation.responses.put(ana, key, YES, version)
    before = annotation.responses.own(ana).responses
    downgrade(records, versions, "0004")
    migrate(records, versions)
    records.close()
    assert annotation.responses.own(ana).responses == before
    assert sorted((one.unit, one.after_reveal) for one in before) == [(0, True), (0, True), (1, False)]
    assert annotation.studies.members(annotation.study_id) == EVERYONE
    assert annotation.studies.get(annotation.study_id).labels_shown == "after_answer"


def test_a_plan_does_not_reveal_its_study(annotation: Annotation) -> None:
    """For a reader who is no member, a plan has the words of one that has no study."""
    ben = annotation.browser("Ben")
    admit(annotation, "Ana")
    hidden, absent = (ben.get(f"/v1/plans/{plan}").json()["message"] for plan in ("plan-1", "plan-none"))
    assert hidden == absent.replace("plan-none", "plan-1")


def test_the_unit_browser_names_only_studies_that_the_reader_sees(annotation: Annotation) -> None:
    """Titles and numbers of answers of other studies are left out."""
    ana, ben = annotation.readers.named("Ana"), annotation.readers.named("Ben")
    annotation.responses.put(ana, annotation.key(), YES, 0)
    admit(annotation, "Ana")
    extraction_id = annotation.rendering.manifest.extraction_id
    for reader, seen in ((ana, 1), (ben, 0)):
        assert len(annotation.studies.withholding(reader, extraction_id)) == seen
        assert len(annotation.responses.by_unit(reader, extraction_id, LAYER)) == seen
        assert len(annotation.responses.answered_in_layers(reader, extraction_id)) == seen


def test_reading_creates_no_reader(annotation: Annotation) -> None:
    """A call that names an unknown reader reads as one without answers, and leaves no name for others to see. The
    first answer creates the reader."""
    ana = annotation.browser("Ana")
    program = annotation.browser()
    headers = {"x-reader": "Planted"}
    assert program.get("/v1/responses", headers=headers).json() == {"responses": [], "total": 0}
    assert program.get("/v1/studies", headers=headers).json()["total"] == 1
    assert [one["name"] for one in ana.get("/v1/summary").json()["readers"]] == ["Ana"]
    assert program.put(annotation.api_path(rest="/response"), headers=headers, json=FORM).status_code == 200
    assert [one["name"] for one in ana.get("/v1/summary").json()["readers"]] == ["Ana", "Planted"]


def test_a_study_that_could_not_begin_is_changed_after_its_replay(annotation: Annotation) -> None:
    """The replay of its event begins the study again, so a change before it would be lost; it is refused. Readers are
    not shown the reason of the failure, which may quote what a study withholds."""
    event = annotation.rendering.completed("plan-3")
    annotation.studies.rendering_parked(event, "cannot read benign_01.png")
    study_id = derived_id("study", "plan-3")
    with pytest.raises(Conflict, match="replayed"):
        annotation.studies.change(study_id, ChangeStudyRequest(members=Members(names=["Ben"])))
    reader = Reader("reader-x", "Ben", sees_units=False)
    assert "benign" in annotation.studies.get(study_id).error
    assert "benign" not in annotation.studies.get(study_id, reader).error
    assert "benign" not in annotation.studies.plan("plan-3", reader).stages[0].error
    assert annotation.studies.rendering_replayed(event).needed
    annotation.studies.rendering_completed(event)
    assert annotation.studies.get(study_id).state == "queued"
