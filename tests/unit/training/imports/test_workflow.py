"""Imports of raw mammograms as tasks: planned, cut in parts, assembled, and controlled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from primitives.training.v1 import events_pb2
from primitives.training.v1 import imports_pb2 as pb

from deploy.local.servers import free_port
from services.common.blobs import ObjectRef
from services.common.errors import Conflict, Forbidden, InvalidInput, JobCrashed, JobFailed, JobStopped, NotFound
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.common.objects.references import References
from services.common.progress import Progress
from services.common.work.jobs import JobReport
from services.common.work.runner import JobRunner
from services.common.work.starts import CallKey
from services.imaging.dataset import Dataset
from services.training.api import add_routes
from services.training.imports import workflow
from services.training.imports.api import add_import_routes
from services.training.imports.job import assemble_dataset, cut_mammograms, plan_source
from services.training.imports.rpc import ImportMethods
from services.training.imports.schemas import StartImportRequest
from services.training.imports.workflow import RawImports
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import CRASHED
from services.training.raw.source.dicomweb import client
from services.training.references import collect_references
from tests.fakes.data import RecordingJob
from tests.fakes.ports import FakeRunner
from tests.fakes.raw.folder_layout import HIDDEN, FolderSource, drawn_files
from tests.fakes.serving import DirectCall
from tests.unit.training.test_workflow import Training

RECIPE = CutRecipe(fractions=(0.5,), part_mammograms=2, splits=(1, 0, 0))
HANDLERS: dict[type, Callable[[RawImports], Callable[[Any], None]]] = {
    events_pb2.PlanImport: lambda imports: imports.plan,
    events_pb2.CutImportPart: lambda imports: imports.cut_part,
    events_pb2.AssembleImport: lambda imports: imports.assemble,
}


class Importing(Training):
    """The training service with an import folder that has five mammograms in `raw`, and the same in a bucket."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder / "imports" / "raw"
        self.folder.mkdir(parents=True)
        self.datasets.import_folder = self.folder.parent
        for name, content in drawn_files(5).items():
            (self.folder / name).write_bytes(content)
            self.blobs.put("raw", f"lab/2024/{name}", content)
        self.jobs = {"plan_source": plan_source, "cut_mammograms": cut_mammograms, "assemble_dataset": assemble_dataset}
        for name, job in self.jobs.items():
            self.runner.answers[name] = lambda spec, job=job: job(RecordingJob(), spec)
        self.app = create_app("training", lambda: True)
        add_routes(self.app, self.datasets, self.runs, self.plans, Streams())
        add_import_routes(self.app, self.raw_imports, Streams())
        self.web = TestClient(self.app)

    def start(self, **changes: Any) -> str:
        """Start an import and return its id."""
        options: dict[str, Any] = {"layout": "png-folder", "folder": "raw", "recipe": RECIPE}
        return self.raw_imports.start(StartImportRequest(**(options | changes))).import_id

    def perform(self, command: Any) -> None:
        """Perform a command."""
        HANDLERS[type(command)](self.raw_imports)(command)

    def perform_all(self) -> list[str]:
        """Perform what is sent until nothing is, and return the types of all messages."""
        types = []
        while sent := self.sent():
            for content in sent:
                types.append(type(content).__name__)
                if type(content) in HANDLERS:
                    self.perform(content)
        return types

    def planned(self, **changes: Any) -> tuple[str, list[Any]]:
        """Start an import, and have its source read. Return its id and the commands of its parts."""
        import_id = self.start(**changes)
        for command in self.sent():
            self.perform(command)
        return import_id, self.sent()

    def collected(self) -> References:
        """What the collector retains."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        return found


@pytest.fixture
def importing(tmp_path: Path) -> Importing:
    return Importing(tmp_path)


def test_an_import_becomes_a_data_set(importing: Importing) -> None:
    """It is planned, cut in parts and assembled. Then it has the data set and the report, and the data set its card."""
    import_id = importing.start(name="Lab set")
    view = importing.raw_imports.get(import_id)
    assert (view.state, view.name, view.folder, view.parts, view.report) == ("queued", "Lab set", "raw", 0, None)
    assert importing.perform_all() == [
        "PlanImport",
        *["CutImportPart"] * 3,
        "AssembleImport",
        "DatasetImported",
    ]
    view = importing.raw_imports.get(import_id)
    assert (view.state, view.parts, view.parts_done, view.mammograms) == ("completed", 3, 3, 5)
    assert view.report is not None and view.dataset_id is not None
    assert (view.report.counts["mammograms"], view.report.dropped[HIDDEN].count) == (5, 1)
    dataset = importing.web.get(f"/v1/datasets/{view.dataset_id}").json()
    assert (dataset["name"], dataset["mammograms"]) == ("Lab set", 5)
    card = importing.web.get(f"/v1/datasets/{view.dataset_id}/card").json()
    assert (card["licence"]["citation"], card["splits"]["train"]["patients"]) == ("nobody", 5)
    report = importing.web.get(f"/v1/datasets/{view.dataset_id}/report").json()
    assert report == view.report.model_dump()


def test_data_sets_of_other_kinds_have_no_card(importing: Importing) -> None:
    """The answer is 404 and says why."""
    for name in ("card", "report"):
        answer = importing.web.get(f"/v1/datasets/{importing.dataset_id}/{name}")
        assert answer.status_code == 404 and f"no {name}: it was not cut from raw" in answer.json()["message"]


def test_a_bucket_gives_the_same_data_set_as_a_folder(importing: Importing) -> None:
    """The prefix is a folder of the bucket, with or without slashes around it."""
    ids = [importing.start(name="x"), importing.start(name="x", folder="", bucket="raw", prefix="/lab/2024")]
    importing.perform_all()
    folder, bucket = map(importing.raw_imports.get, ids)
    assert (bucket.state, bucket.bucket, bucket.prefix) == ("completed", "raw", "lab/2024/")
    assert folder.dataset_id == bucket.dataset_id
    assert importing.raw_imports.get(importing.start(folder="", bucket="raw", prefix="lab/2024")).name == "2024"


def test_sources_that_may_not_be_imported_are_refused(importing: Importing) -> None:
    """Nothing starts: neither from a bucket that is not listed, an unknown folder, layout or server, with a layout that
    no server has, nor without an import folder."""
    for error, changes in (
        (Forbidden, {"folder": "", "bucket": "training"}),
        (NotFound, {"folder": "absent"}),
        (InvalidInput, {"layout": "nothing"}),
        (NotFound, {"layout": "dicom", "dicomweb": "lab"}),
        (InvalidInput, {"dicomweb": "lab"}),
    ):
        with pytest.raises(error):
            importing.start(**changes)
    importing.datasets.import_folder = None
    with pytest.raises(Forbidden, match="PRIMITIVES_TRAINING_IMPORT_FOLDER"):
        importing.start()
    assert importing.sent() == []


@pytest.mark.parametrize(
    "body",
    [
        {"folder": "../raw"},
        {"folder": "raw", "bucket": "raw"},
        {"folder": "raw", "prefix": "lab"},
        {"folder": "raw", "bucket": "raw", "dicomweb": "lab"},
        {"folder": "raw", "since": "2024-01-01"},
        {"dicomweb": "lab", "since": "2024-01-02", "until": "2024-01-01"},
        {"dicomweb": "lab", "until": "January"},
        {"dicomweb": "https://pacs.example"},
        {"bucket": "Raw"},
        {"bucket": "../training"},
        {"folder": "raw", "recipe": {"stride": 0}},
        {"folder": "raw", "recipe": {"fraction": 0.5}},
        {},
    ],
)
def test_requests_that_are_not_valid_are_refused(importing: Importing, body: dict[str, Any]) -> None:
    """A path, two sources or none, a prefix without a bucket, a strange bucket, days without a server or without a day
    between them, a server by its address, and a wrong recipe."""
    assert importing.web.post("/v1/imports", json={"layout": "png-folder"} | body).status_code == 422
    assert importing.sent() == []


def test_an_import_is_started_once_for_a_key(importing: Importing) -> None:
    """The same request with the key finds it, another one is refused."""
    request = StartImportRequest(layout="png-folder", folder="raw")
    first = importing.raw_imports.start(request, CallKey("ci", "key-1"))
    assert importing.raw_imports.start(request, CallKey("ci", "key-1")).import_id == first.import_id
    assert len(importing.sent()) == 1
    with pytest.raises(InvalidInput, match=f"which started {first.import_id}"):
        importing.raw_imports.start(request.model_copy(update={"name": "b"}), CallKey("ci", "key-1"))


def test_commands_that_arrive_twice_are_performed_once(importing: Importing) -> None:
    """Neither reads the source again, nor cuts a part again, nor assembles before all parts are cut."""
    import_id, parts = importing.planned()
    importing.perform(events_pb2.PlanImport(import_id=import_id))
    importing.perform(parts[0])
    importing.perform(parts[0])
    importing.perform(events_pb2.AssembleImport(import_id=import_id))
    assert [name for name, _ in importing.runner.calls] == ["plan_source", "cut_mammograms"]
    assert importing.sent() == []


def test_an_import_is_not_assembled_before_it_is_planned(importing: Importing) -> None:
    """A command that comes too early does nothing."""
    import_id = importing.start()
    importing.perform(events_pb2.AssembleImport(import_id=import_id))
    importing.perform(events_pb2.CutImportPart(import_id=import_id, part=0))
    assert importing.runner.calls == [] and importing.raw_imports.get(import_id).state == "queued"


def test_a_paused_import_continues_with_the_missing_parts(importing: Importing) -> None:
    """Before it is planned, the source is read when it is resumed; later, only missing parts are cut."""
    import_id = importing.start()
    importing.raw_imports.act("pause", import_id)
    [command] = importing.sent()
    importing.perform(command)
    assert importing.runner.calls == []
    importing.raw_imports.act("resume", import_id)
    [command] = importing.sent()
    importing.perform(command)
    first, *_ = importing.sent()
    importing.perform(first)
    importing.raw_imports.act("pause", import_id)
    importing.raw_imports.act("resume", import_id)
    assert [command.part for command in importing.sent()] == [1, 2]
    view = importing.raw_imports.get(import_id)
    assert (view.state, view.parts_done) == ("queued", 1)


def test_a_job_stops_between_two_mammograms(importing: Importing) -> None:
    """Nothing of its part is recorded, no mammogram is at fault, and each mammogram is reported."""
    import_id, parts = importing.planned()

    class StoppingJob(RecordingJob):
        def stop_if_requested(self) -> None:
            raise JobStopped("noticed")

    job = StoppingJob()
    importing.runner.answers["cut_mammograms"] = lambda spec: cut_mammograms(job, spec)  # type: ignore[arg-type]
    importing.perform(parts[0])
    assert job.done == [1] and importing.raw_imports.get(import_id).parts_done == 0
    assert [key for key in importing.blobs.list("training", "imports/") if "journal" in key] == []


def test_a_cancelled_import_registers_nothing(importing: Importing) -> None:
    """Its commands do nothing, ImportFailed is published, and the collector removes its objects."""
    import_id, parts = importing.planned()
    importing.perform(parts[0])
    importing.raw_imports.act("cancel", import_id)
    [failed] = importing.sent()
    assert isinstance(failed, events_pb2.ImportFailed) and failed.import_id == import_id
    importing.perform(parts[1])
    assert importing.raw_imports.get(import_id).parts_done == 1
    assert not any(one.key.startswith("imports/") for one in importing.collected().objects)
    assert len(importing.datasets.all().datasets) == 1


def test_objects_of_an_unfinished_import_are_referenced(importing: Importing) -> None:
    """The plan, the parts, and all that is stored of the parts that are cut: nothing in the bucket is garbage. After
    the end, only the data set is, with its card and its report."""
    everything = set(importing.blobs.list("training")) - {one.key for one in importing.collected().objects}
    import_id, parts = importing.planned()
    importing.perform(parts[0])
    found = importing.collected()
    assert set(importing.blobs.list("training")) - {one.key for one in found.objects} == everything
    assert (found.faults, found.incomplete) == ([], False)
    for command in parts[1:]:
        importing.perform(command)
    importing.perform_all()
    ref = importing.datasets.get(importing.raw_imports.get(import_id).dataset_id or "").manifest
    manifest = Dataset.open(importing.blobs, ref).manifest
    assert manifest.card is not None and manifest.report is not None
    keys = {one.key for one in importing.collected().objects}
    assert {manifest.card.key, manifest.report.key, *(shard.object.key for shard in manifest.shards)} <= keys
    assert not any(key.startswith("imports/") for key in keys)


def fail(importing: Importing, command: Any) -> None:
    """Park a command: its import fails."""
    importing.raw_imports.command_parked(command, "broken")
    importing.sent()


def test_a_replayed_import_cuts_the_missing_parts(importing: Importing) -> None:
    """Those that are stored are not cut again."""
    import_id, parts = importing.planned()
    importing.perform(parts[0])
    fail(importing, parts[1])
    assert importing.raw_imports.get(import_id).state == "failed"
    importing.raw_imports.command_replayed(parts[1])
    assert [command.part for command in importing.sent()] == [1, 2]


@pytest.mark.parametrize("lost", ["datasets/mammograms/", "datasets/shards/", "imports/"])
def test_a_replayed_import_cuts_again_what_the_collector_removed(importing: Importing, lost: str) -> None:
    """A part of which an object is missing is cut again; without the plan, the source is read again. The data set is
    complete."""
    import_id, parts = importing.planned()
    importing.perform(parts[0])
    fail(importing, parts[1])
    for key in list(importing.blobs.list("training", lost)):
        if key not in {one.key for one in importing.collected().objects}:
            importing.blobs.delete("training", key)
    importing.raw_imports.command_replayed(parts[1])
    expected = ["PlanImport"] if lost == "imports/" else []
    assert importing.perform_all() == [*expected, *["CutImportPart"] * 3, "AssembleImport", "DatasetImported"]
    view = importing.raw_imports.get(import_id)
    dataset = Dataset.open(importing.blobs, importing.datasets.get(view.dataset_id or "").manifest)
    assert all(dataset.read(number) for number in range(dataset.index.num_rows))
    assert importing.collected().faults == []


def test_a_crash_outside_of_a_mammogram_is_raised(importing: Importing) -> None:
    """The consumer counts it as an attempt."""
    _, parts = importing.planned()

    def crash(_: Any) -> ObjectRef:
        raise JobCrashed("killed")

    importing.runner.answers["cut_mammograms"] = crash
    with pytest.raises(JobCrashed):
        importing.perform(parts[0])
    assert len(importing.runner.calls) == 2


def test_files_that_kill_the_job_are_left_out(importing: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through real children: the import completes, and the report names both files of the part."""
    for name, content in drawn_files(5, deadly=(0, 1)).items():
        (importing.folder / name).write_bytes(content)
    runner = JobRunner("import-job")
    importing.raw_imports.runner = runner
    monkeypatch.setattr(workflow, "Source", FolderSource)  # its pickle registers the layout in the child
    import_id = importing.start()
    try:
        importing.perform_all()
    finally:
        runner.close()
    view = importing.raw_imports.get(import_id)
    assert (view.state, view.parts_done) == ("completed", 3) and view.report is not None
    assert view.report.dropped[CRASHED].examples == ["00.png", "01.png"]
    assert view.report.counts["mammograms"] == 3


def test_an_import_fails_if_its_server_stays_away(
    importing: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that parks the message. Unavailable would have the whole queue wait for a PACS."""
    monkeypatch.setattr(client, "WAITS_S", (0.0,))
    servers = tmp_path / "servers.json"
    servers.write_text(json.dumps({"lab": {"url": f"http://127.0.0.1:{free_port()}"}}))
    importing.raw_imports.dicomweb_file, importing.raw_imports.home = servers, tmp_path
    import_id = importing.start(layout="dicom", folder="", dicomweb="lab", since="2024-01-01")
    view = importing.raw_imports.get(import_id)
    assert (view.name, view.dicomweb, str(view.since), view.until) == ("lab", "lab", "2024-01-01", None)
    [command] = importing.sent()
    with pytest.raises(JobFailed, match="DICOMweb server lab does not answer: ConnectError"):
        importing.perform(command)


class ReportingRunner(FakeRunner):
    """A runner whose jobs report that one of two mammograms is done."""

    def run(self, job: Any, spec: Any, on_report: Any = lambda _: None, *others: Any) -> Any:
        on_report(JobReport(phase="cutting patches", done=1, total=2, unit="mammograms"))
        return super().run(job, spec, on_report, *others)


def test_progress_counts_mammograms_of_all_parts(importing: Importing) -> None:
    """A report of a part adds to the parts that are done."""
    import_id, parts = importing.planned()
    importing.perform(parts[0])
    runner = ReportingRunner()
    runner.answers = importing.runner.answers
    importing.raw_imports.runner = runner  # type: ignore[assignment]
    importing.perform(parts[1])
    progress = importing.raw_imports.get(import_id).progress
    assert progress == Progress(phase="cutting patches", done=2, total=5, unit="mammograms")


def test_imports_over_grpc(importing: Importing) -> None:
    """The same verbs as HTTP, with the recipe and the report."""
    methods: Any = ImportMethods(importing.raw_imports, Streams())
    recipe = pb.CutRecipe(fractions=[0.5], part_mammograms=2, splits=[1, 0, 0], classes="two")
    request = pb.StartImportRequest(layout="png-folder", folder="raw", recipe=recipe)
    started, again = (methods.StartImport(request, DirectCall(idempotency_key="1")).task for _ in range(2))
    assert (started.state, again.import_id) == ("queued", started.import_id)
    for verb, state in (("Pause", "paused"), ("Resume", "queued")):
        options = getattr(pb, f"{verb}ImportRequest")(import_id=started.import_id)
        assert getattr(methods, f"{verb}Import")(options, None).task.state == state
    importing.perform_all()
    found = methods.GetImport(pb.GetImportRequest(import_id=started.import_id), None).task
    assert (found.state, found.parts_done, found.recipe.classes) == ("completed", 3, "two")
    assert found.report.dropped[HIDDEN].count == 1 and found.report.counts["mammograms"] == 5
    [listed] = methods.ListImports(pb.ListImportsRequest(), None).imports
    assert listed.dataset_id == found.dataset_id and not listed.HasField("report")
    layouts = methods.ListImportLayouts(pb.ListImportLayoutsRequest(), None)
    [layout] = [one for one in layouts.layouts if one.name == "png-folder"]
    assert (layout.licence, list(layout.terms), list(layouts.buckets)) == ("test", ["no-weights-release"], ["raw"])
    request = pb.StartImportRequest(layout="dicom", dicomweb="lab", since="2024-01-01")
    with pytest.raises(NotFound, match="no DICOMweb server 'lab'"):
        methods.StartImport(request, DirectCall())
    with pytest.raises(Conflict):
        methods.CancelImport(pb.CancelImportRequest(import_id=started.import_id), None)
