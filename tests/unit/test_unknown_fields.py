"""Requests with fields that a service does not have are refused: work would start with other options than meant."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from fastapi.testclient import TestClient
from primitives.training.v1 import training_pb2, training_pb2_grpc

from deploy.release.contracts import openapi_documents
from services.common.http.app import create_app
from services.training.schemas import StartPlanRequest
from tests.fakes.serving import training_channel

JSON = "application/json"


def objects_of(schema: Any, schemas: dict[str, Any], seen: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield the title and the schema of every object in a schema of an OpenAPI document."""
    if isinstance(schema, list):
        for one in schema:
            yield from objects_of(one, schemas, seen)
    if not isinstance(schema, dict):
        return
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and name not in seen:
        seen.add(name)
        yield from objects_of(schemas[name], schemas, seen)
    if "properties" in schema:
        yield schema["title"], schema
    for part in schema.values():
        yield from objects_of(part, schemas, seen)


def test_every_body_over_http_refuses_unknown_fields() -> None:
    """The OpenAPI documents say so of each object in each body, at every level."""
    found = []
    for service, document in openapi_documents().items():
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                body = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
                for title, schema in objects_of(body, document["components"]["schemas"], set()):
                    found.append((service, method, path, title, schema.get("additionalProperties")))
    assert {one[0] for one in found} == {"training", "activation_extraction", "patch_rendering", "annotation"}
    assert [one for one in found if one[-1] is not False] == []


@pytest.mark.parametrize(
    "body",
    [
        {"datasets": {"dataset_id": "mine"}},
        {"dataset": {"dataset": "mine"}},
        {"network": {"training": {}}},
        {"extraction": {"topk": 7}},
        {"rendering": {"sizes": 9}},
        {"study": {"label_shown": "always"}},
    ],
)
def test_a_misspelt_field_of_a_plan_is_named(body: dict[str, Any]) -> None:
    """A plan with `datasets` in place of `dataset` would train on the sample."""
    app = create_app("training", lambda: True)

    @app.post("/v1/plans")
    def start(request: StartPlanRequest) -> None:
        raise AssertionError(request)

    answer = TestClient(app).post("/v1/plans", json=body)
    assert answer.status_code == 422
    [(section, value)] = body.items()
    field = section if section == "datasets" else f"{section}.{next(iter(value))}"
    assert f"body.{field}: Extra inputs are not permitted" in answer.json()["message"]


class Servicer(training_pb2_grpc.TrainingServiceServicer):
    """Answers every call."""

    def StartPlan(self, request: Any, context: grpc.ServicerContext) -> training_pb2.StartPlanResponse:
        return training_pb2.StartPlanResponse(plan_id="plan-1")

    def GetPlan(self, request: Any, context: grpc.ServicerContext) -> training_pb2.GetPlanResponse:
        return training_pb2.GetPlanResponse(plan_id="plan-1")


NEWER = b"\xba\x3e\x01x"
"""A field that a newer caller may add to a message: number 999, a text of one letter."""


@pytest.mark.parametrize("nested", [False, True])
def test_a_newer_field_is_refused_where_a_call_changes_something(nested: bool) -> None:
    """Over gRPC, a call that starts something with a field that this service does not know is INVALID_ARGUMENT. A call
    that only reads ignores the field."""
    plan = training_pb2.StartPlanRequest(plan_id="plan-1")
    if nested:
        plan.network.train.ParseFromString(NEWER)
        content = plan.SerializeToString()
    else:
        content = plan.SerializeToString() + NEWER
    with training_channel(Servicer()) as channel:
        name = training_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name
        start, get = (channel.unary_unary(f"/{name}/{method}") for method in ("StartPlan", "GetPlan"))
        with pytest.raises(grpc.RpcError) as refused:
            start(content, timeout=10)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "fields that this version of the service does not know" in refused.value.details()
        assert start(training_pb2.StartPlanRequest(plan_id="plan-1").SerializeToString(), timeout=10)
        assert get(training_pb2.GetPlanRequest(plan_id="plan-1").SerializeToString() + NEWER, timeout=10)
