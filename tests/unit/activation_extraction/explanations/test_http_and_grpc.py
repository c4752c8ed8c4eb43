"""Explanations over HTTP and gRPC."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from primitives.activation_extraction.v1 import explanation_pb2 as pb

from services.activation_extraction.explanations import rpc
from services.activation_extraction.explanations.rpc import ExplanationMethods
from services.activation_extraction.explanations.schemas import Explanation
from services.common.errors import InvalidInput
from services.common.http.app import LARGEST_BODY
from services.common.http.streams import Streams
from tests.fakes.serving import DirectCall
from tests.unit.activation_extraction.explanations.explained import Explained

FILE = {"content-type": "application/octet-stream"}


def test_an_explanation_over_http(explained: Explained) -> None:
    """Upload the file as the body, start, perform, and read result and picture."""
    client = TestClient(explained.app())
    uploaded = client.post("/v1/mammograms", content=explained.file, headers=FILE)
    assert uploaded.status_code == 201 and uploaded.json()["kind"] == "png"
    body = {"extraction_id": "extraction-1", "mammogram": uploaded.json()["sha256"], "named": [2], "units": 2}
    started = client.post("/v1/explanations", json=body)
    assert started.status_code == 202, started.text
    path = f"/v1/explanations/{started.json()['explanation_id']}"
    assert client.get(f"{path}/result").status_code == 409
    [command] = explained.sent()
    explained.explanations.explain(command)
    found = Explanation.model_validate(client.get(f"{path}/result").json())
    assert found.named is not None and found.named.units == [2] and len(found.units) == 2
    sizes = [len(client.get(f"{path}/picture.jpg", params={"preview": preview}).content) for preview in (False, True)]
    assert min(sizes) > 500
    assert client.get("/v1/explanations").json()["total"] == 1
    assert client.get(path).json()["state"] == "completed"


def test_only_an_upload_may_be_large(explained: Explained) -> None:
    """A mammogram may have more bytes than any other body. A file of another kind is refused."""
    client = TestClient(explained.app())
    large = b"\x89PNG" + bytes(LARGEST_BODY)
    refused = client.post("/v1/mammograms", content=large, headers=FILE)
    assert refused.status_code == 422 and "not a complete image" in refused.json()["message"]
    assert client.post("/v1/explanations", content=large).status_code == 413
    assert client.post("/v1/mammograms", content=b"GIF89a", headers=FILE).status_code == 422
    assert client.post("/v1/mammograms", headers=FILE).status_code == 422


def test_an_explanation_over_grpc(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verbs, with the file and its picture in chunks, and the same result."""
    methods, call = ExplanationMethods(explained.explanations, Streams()), DirectCall()
    chunks = [explained.file[first : first + 1000] for first in range(0, len(explained.file), 1000)]
    stream = (pb.UploadMammogramRequest(chunk=chunk) for chunk in chunks)
    uploaded = methods.UploadMammogram(stream, call)  # type: ignore[arg-type]
    assert uploaded.sha256 == explained.explanations.upload(explained.file).sha256
    request = pb.StartExplanationRequest(extraction_id="extraction-1", mammogram=uploaded.sha256, units=2, named=[1, 3])
    started = methods.StartExplanation(request, call).explanation  # type: ignore[arg-type]
    for verb, state in (("Pause", "paused"), ("Resume", "queued")):
        act: Any = getattr(methods, f"{verb}Explanation")
        kind: Any = getattr(pb, f"{verb}ExplanationRequest")
        assert act(kind(explanation_id=started.explanation_id), call).explanation.state == state
    command = explained.sent()[-1]
    explained.explanations.explain(command)
    got = methods.GetExplanationResult(
        pb.GetExplanationResultRequest(explanation_id=started.explanation_id),
        call,  # type: ignore[arg-type]
    ).result
    expected = explained.explanations.result(started.explanation_id)
    assert got.logit == expected.logit and list(got.contributions) == expected.contributions
    assert [list(one.rows) for one in got.units[0].outlines] == [one.rows for one in expected.units[0].outlines]
    assert list(got.named.units) == [1, 3] and got.tiles[0].box.height == expected.tiles[0].box.height
    monkeypatch.setattr(rpc, "CHUNK", 700)
    picture = pb.GetExplanationPictureRequest(explanation_id=started.explanation_id)
    parts = [one.chunk for one in methods.GetExplanationPicture(picture, call)]  # type: ignore[arg-type]
    assert len(parts) > 1
    assert b"".join(parts) == explained.explanations.picture(started.explanation_id, preview=False)
    listed = methods.ListExplanations(pb.ListExplanationsRequest(), call)  # type: ignore[arg-type]
    assert [one.state for one in listed.explanations] == ["completed"]


def test_an_upload_over_grpc_has_a_limit(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the chunk that exceeds the limit: the rest is not read."""
    monkeypatch.setattr(rpc, "LARGEST_UPLOAD", 2500)
    methods, read = ExplanationMethods(explained.explanations, Streams()), []

    def chunks() -> Any:
        for number in range(10):
            read.append(number)
            yield pb.UploadMammogramRequest(chunk=bytes(1000))

    with pytest.raises(InvalidInput, match="a mammogram has at most 2500 bytes"):
        methods.UploadMammogram(chunks(), DirectCall())  # type: ignore[arg-type]
    assert read == [0, 1, 2]
