"""The gRPC API of the annotation service."""

from collections.abc import Iterator

import grpc
import pytest
from primitives.annotation.v1 import annotation_pb2 as pb
from primitives.annotation.v1 import annotation_pb2_grpc

from services.annotation.rpc import AnnotationServicer
from services.common.access.edge import Edge
from services.common.grpc import GrpcServer
from tests.fakes.annotation import FORM, LAYER, Annotation

ANA = (("reader", "Ana"),)
ZOE = (("reader-bin", "Zoë".encode()),)


@pytest.fixture
def stub(annotation: Annotation) -> Iterator[annotation_pb2_grpc.AnnotationServiceStub]:
    servicer = AnnotationServicer(annotation.readers, annotation.studies, annotation.units, annotation.responses)
    server = GrpcServer(
        "primitives.annotation.v1.AnnotationService",
        lambda to: annotation_pb2_grpc.add_AnnotationServiceServicer_to_server(servicer, to),
        Edge("annotation"),
        0,
    )
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield annotation_pb2_grpc.AnnotationServiceStub(channel)
    server.stop(0)


def code_of(call: object, request: object, **more: object) -> grpc.StatusCode:
    """The status code of a call that fails."""
    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=10, **more)  # type: ignore[operator]
    return failure.value.code()


def test_studies_and_units_are_listed(annotation: Annotation, stub: annotation_pb2_grpc.AnnotationServiceStub) -> None:
    """The methods match HTTP, with the reader in the metadata. Without a reader, a list of units is refused."""
    [study] = stub.ListStudies(pb.ListStudiesRequest(), timeout=10).studies
    assert study.study_id == annotation.study_id
    assert study.layers[0].all.units == 29
    request = pb.ListUnitsRequest(study_id=study.study_id, layer=LAYER, list="ranked", limit=2)
    assert code_of(stub.ListUnits, request) is grpc.StatusCode.UNAUTHENTICATED
    part = stub.ListUnits(request, timeout=10, metadata=ANA)
    assert (part.total, [(unit.label, unit.rank) for unit in part.units]) == (30, [(2, 1), (2, 2)])
    assert code_of(stub.ListUnits, pb.ListUnitsRequest(study_id=study.study_id, layer=LAYER, limit=999), metadata=ANA) \
        is grpc.StatusCode.INVALID_ARGUMENT  # fmt: skip
    assert stub.GetPlan(pb.GetPlanRequest(plan_id="plan-1"), timeout=10).stages[0].name == "study"
    opened = stub.OpenStudy(pb.OpenStudyRequest(rendering_id="rendering-1"), timeout=10).study
    assert stub.GetStudy(pb.GetStudyRequest(study_id=opened.study_id), timeout=10).study.state == "queued"


def test_an_answer_is_saved_and_reveals_classes(
    annotation: Annotation, stub: annotation_pb2_grpc.AnnotationServiceStub
) -> None:
    """Classes are absent before the answer and present after it, for this reader only; a stale version is ABORTED."""
    unit = pb.GetUnitRequest(study_id=annotation.study_id, layer=LAYER, unit=0)
    blind = stub.GetUnit(unit, timeout=10, metadata=ANA).unit
    assert not any(picture.HasField("label") or picture.patch or picture.phenomenon for picture in blind.pictures)
    assert not blind.ranks
    put = pb.PutResponseRequest(study_id=annotation.study_id, layer=LAYER, unit=0, **FORM)
    assert stub.PutResponse(put, timeout=10, metadata=ANA).response.version == 1
    assert code_of(stub.PutResponse, put, metadata=ANA) is grpc.StatusCode.ABORTED
    seen = stub.GetUnit(unit, timeout=10, metadata=ANA).unit
    assert all(picture.HasField("label") and picture.patch for picture in seen.pictures)
    assert seen.response.description == FORM["description"]
    other = stub.GetUnit(unit, timeout=10, metadata=ZOE).unit
    assert not any(picture.HasField("label") for picture in other.pictures)
    assert not other.HasField("response")
    assert stub.ListResponses(pb.ListResponsesRequest(), timeout=10, metadata=ANA).total == 1
    readers = stub.GetSummary(pb.GetSummaryRequest(), timeout=10, metadata=ZOE).readers
    assert [(reader.name, len(reader.answered)) for reader in readers] == [("Ana", 1)]
