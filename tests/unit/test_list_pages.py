"""The lists of all services: pages, and a number of SQL statements that does not depend on their length."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message
from primitives.activation_extraction.v1 import activation_extraction_pb2, analysis_pb2
from primitives.patch_rendering.v1 import patch_rendering_pb2
from primitives.training.v1 import evaluation_pb2, imports_pb2, training_pb2
from pydantic import ValidationError
from sqlalchemy import MetaData
from sqlalchemy.orm import Session

from bench.statements import recorded_statements
from services.activation_extraction import tables as extraction
from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.specs import ShardState
from services.activation_extraction.workflow.queries import Queries as ExtractionQueries
from services.common.blobs import ObjectRef
from services.common.grpc import to_message, to_request
from services.common.paging import PageView, Window
from services.common.work.ports import Ports
from services.imaging.manifests import RenderedGroup
from services.patch_rendering import tables as rendering
from services.patch_rendering.workflow.queries import Queries as RenderingQueries
from services.training.evaluation.comparisons import Comparisons
from services.training.evaluation.schemas import BootstrapSettings, ComparedAuc, ComparisonView, Estimate
from services.training.evaluation.tables import ComparisonRow, EvaluationRow
from services.training.evaluation.workflow import Evaluations
from services.training.imports.schemas import StartImportRequest
from services.training.imports.tables import ImportPartRow, ImportRow
from services.training.imports.workflow import RawImports
from services.training.settings import TrainingSettings
from services.training.tables import Base as TrainingBase
from services.training.tables import DatasetRow, RunRow
from services.training.workflow.datasets import Datasets
from services.training.workflow.runs import Runs
from tests.fakes.ports import FakeRunner, World

REF = ObjectRef(bucket="any-bucket", key="k", sha256="0" * 64, size=1)
AUC = ComparedAuc(name="all", difference=Estimate())
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)

Add = Callable[[Session, int], None]
Read = Callable[[Ports, Window], PageView]


def moment(number: int) -> datetime:
    """The time of creation of the row of a number."""
    return BEGIN + timedelta(minutes=number)


def add_dataset(session: Session, number: int) -> None:
    session.add(
        DatasetRow(
            dataset_id=f"dataset-{number}", name="sample", classes=["a"], splits={}, mammograms=0, manifest=REF,
            created=moment(number),
        )
    )  # fmt: skip
    session.flush()


def add_run(session: Session, number: int) -> None:
    add_dataset(session, number)
    session.add(RunRow(run_id=f"run-{number}", dataset_id=f"dataset-{number}", settings={}, created=moment(number)))
    session.flush()


def add_evaluation(session: Session, number: int) -> None:
    add_run(session, number)
    session.add(
        EvaluationRow(
            evaluation_id=f"evaluation-{number}", run_id=f"run-{number}", dataset_id=f"dataset-{number}",
            checkpoint=REF, split="val", settings={}, created=moment(number),
        )
    )  # fmt: skip
    session.flush()


def add_import(session: Session, number: int) -> None:
    """Add an import with two finished parts."""
    import_id, request = f"import-{number}", StartImportRequest(layout="drawn", folder="raw")
    session.add(ImportRow(import_id=import_id, request=request, planned=REF, parts=3, created=moment(number)))
    session.flush()
    session.add_all(ImportPartRow(import_id=import_id, part=part, result=REF) for part in range(2))


def add_comparison(session: Session, number: int) -> None:
    add_evaluation(session, number)
    name = f"evaluation-{number}"
    result = ComparisonView(
        comparison_id=f"comparison-{number}", evaluation_a=name, evaluation_b=name, dataset_id="d", split="val",
        patches=1, patients=1, settings=BootstrapSettings(), classes=[], macro=AUC, micro=AUC,
        created=moment(number),
    )  # fmt: skip
    session.add(
        ComparisonRow(
            comparison_id=result.comparison_id, evaluation_a=name, evaluation_b=name, result=result,
            created=moment(number),
        )
    )  # fmt: skip


def add_extraction(session: Session, number: int) -> None:
    """Add an extraction with two finished shards."""
    session.add(
        extraction.ExtractionRow(
            extraction_id=f"extraction-{number}", run_id="run-1", dataset=REF, checkpoint=REF, split="val",
            layers=["layer4"], top_k=4, batch_size=2, shards=3, patches=6, created=moment(number),
        )
    )  # fmt: skip
    session.flush()
    for shard in range(2):
        state = ShardState(state=REF, maxima={})
        session.add(extraction.ShardRow(extraction_id=f"extraction-{number}", shard=shard, patches=2, state=state))


def add_analysis(session: Session, number: int) -> None:
    """Add an analysis of one extraction, with one finished piece."""
    if number == 0:
        add_extraction(session, 0)
    session.add(
        extraction.AnalysisRow(
            analysis_id=f"analysis-{number}", extraction_id="extraction-0", kind="influence", settings={},
            extraction=REF, pieces=2, created=moment(number),
        )
    )  # fmt: skip
    session.flush()
    session.add(extraction.PieceRow(analysis_id=f"analysis-{number}", piece=0, state=REF))


def add_rendering(session: Session, number: int) -> None:
    """Add a rendering with two finished groups of five pictures."""
    session.add(
        rendering.RenderingRow(
            rendering_id=f"rendering-{number}", extraction_id="extraction-1", size=16, groups=3, group_units=2,
            pictures_expected=15, created=moment(number),
        )
    )  # fmt: skip
    session.flush()
    for first in (0, 2):
        group = RenderedGroup(first=first, last=first + 1, pack=REF, pictures=REF, units=REF)
        session.add(
            rendering.GroupRow(rendering_id=f"rendering-{number}", layer="layer4", first=first, pictures=5, group=group)
        )


def evaluations(ports: Ports) -> Evaluations:
    return Evaluations(ports, FakeRunner(), TrainingSettings())  # type: ignore[arg-type]


def imports(ports: Ports) -> RawImports:
    runner: Any = FakeRunner()
    return RawImports(ports, runner, Datasets(ports, runner))


LISTS: dict[str, tuple[MetaData, Add, Read, type[message.Message], type[message.Message]]] = {
    "datasets": (
        TrainingBase.metadata, add_dataset,
        lambda ports, window: Datasets(ports, FakeRunner()).all(window),  # type: ignore[arg-type]
        training_pb2.ListDatasetsRequest, training_pb2.ListDatasetsResponse,
    ),
    "runs": (
        TrainingBase.metadata, add_run,
        lambda ports, window: Runs(ports, FakeRunner(), TrainingSettings()).all(window),  # type: ignore[arg-type]
        training_pb2.ListRunsRequest, training_pb2.ListRunsResponse,
    ),
    "evaluations": (
        TrainingBase.metadata, add_evaluation, lambda ports, window: evaluations(ports).all(window),
        evaluation_pb2.ListEvaluationsRequest, evaluation_pb2.ListEvaluationsResponse,
    ),
    "imports": (
        TrainingBase.metadata, add_import, lambda ports, window: imports(ports).all(window),
        imports_pb2.ListImportsRequest, imports_pb2.ListImportsResponse,
    ),
    "comparisons": (
        TrainingBase.metadata, add_comparison,
        lambda ports, window: Comparisons(ports, evaluations(ports)).all(window),
        evaluation_pb2.ListComparisonsRequest, evaluation_pb2.ListComparisonsResponse,
    ),
    "extractions": (
        extraction.Base.metadata, add_extraction, lambda ports, window: ExtractionQueries(ports).all(window),
        activation_extraction_pb2.ListExtractionsRequest, activation_extraction_pb2.ListExtractionsResponse,
    ),
    "analyses": (
        extraction.Base.metadata, add_analysis,
        lambda ports, window: AnalysisQueries(ports).of("extraction-0", window),
        analysis_pb2.ListAnalysesRequest, analysis_pb2.ListAnalysesResponse,
    ),
    "renderings": (
        rendering.Base.metadata, add_rendering, lambda ports, window: RenderingQueries(ports).all(window),
        patch_rendering_pb2.ListRenderingsRequest, patch_rendering_pb2.ListRenderingsResponse,
    ),
}  # fmt: skip
"""By the field of the items: the tables, a function that adds a row, one that reads a page, and the messages."""


def filled(folder: Path, name: str, count: int) -> World:
    """A service whose list has some items."""
    folder.mkdir()
    world = World(folder, LISTS[name][0])
    with world.ports.records.transaction() as session:
        for number in range(count):
            LISTS[name][1](session, number)
    return world


def ids(name: str, view: PageView) -> Sequence[str]:
    """The ids of the items of a page."""
    return [next(value for key, value in item.items() if key.endswith("_id")) for item in view.model_dump()[name]]


@pytest.mark.parametrize("name", LISTS)
def test_statements_do_not_depend_on_the_length(name: str, tmp_path: Path) -> None:
    """A list of 30 items takes as many SQL statements as a list of 3."""
    counts = []
    for count in (3, 30):
        world = filled(tmp_path / str(count), name, count)
        with recorded_statements(world.ports.records.engine) as statements:
            view = LISTS[name][2](world.ports, Window())
        assert (len(view.model_dump()[name]), view.total, view.next_offset) == (count, count, None)
        counts.append(len(statements))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_read_page_by_page(name: str, tmp_path: Path) -> None:
    """Pages have the newest items first, the length of the whole list, and the offset of the next page. A message over
    gRPC without fields requests the first page."""
    world, read = filled(tmp_path / "service", name, 5), LISTS[name][2]
    request, response = LISTS[name][3:]
    noun = ids(name, read(world.ports, Window(limit=1)))[0].rpartition("-")[0]
    first, last = read(world.ports, Window(limit=3)), read(world.ports, Window(offset=3, limit=3))
    assert [*ids(name, first), *ids(name, last)] == [f"{noun}-{number}" for number in (4, 3, 2, 1, 0)]
    assert (first.total, first.next_offset, last.total, last.next_offset) == (5, 3, 5, None)
    assert to_request(request(), Window) == Window()
    assert to_request(request(offset=3, limit=3), Window) == Window(offset=3, limit=3)
    sent: Any = to_message(first, response)
    assert (len(getattr(sent, name)), sent.total, sent.next_offset) == (3, 5, 3)
    assert not to_message(last, response).HasField("next_offset")


def test_finished_parts_are_counted(tmp_path: Path) -> None:
    """Each item of a list has its own number of finished shards, pieces, groups, pictures and parts."""
    for name, fields in (
        ("extractions", {"shards_done": 2}),
        ("analyses", {"pieces_done": 1}),
        ("renderings", {"groups_done": 2, "pictures": 10}),
        ("imports", {"parts_done": 2}),
    ):
        world = filled(tmp_path / name, name, 3)
        items = LISTS[name][2](world.ports, Window()).model_dump()[name]
        assert [{field: item[field] for field in fields} for item in items] == [fields] * 3


@pytest.mark.parametrize("values", [{"limit": 0}, {"limit": 501}, {"offset": -1}, {"offset": 2**31}])
def test_a_window_has_limits(values: dict[str, int]) -> None:
    """A page has 1 to 500 items."""
    with pytest.raises(ValidationError):
        Window.model_validate(values)
