"""Every input has a limit, and an input above it is refused with a reason. docs/threat-model.md lists the limits."""

import ast
import io
import json
import zipfile
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fastapi.testclient import TestClient
from primitives.training.v1 import events_pb2, training_pb2, training_pb2_grpc
from pydantic import ValidationError

from services.common.blobs import FolderBlobs
from services.common.bus import Envelope, decode
from services.common.bus.messages import LONGEST_BODY
from services.common.errors import InvalidInput
from services.common.grpc import LARGEST_REQUEST
from services.common.http.app import create_app
from services.common.machine.reading import read_at_most
from services.common.requests import MOST_FIELDS
from services.imaging.checkpoint import read_file
from services.imaging.manifests import read_table
from services.imaging.tensors import LARGEST_HEADER, Tensors, local_tensors
from services.training.importer import ImportSource, import_directory
from services.training.original import read_run
from services.training.outlines import read_outlines
from services.training.schemas import StartPlanRequest, StartRunRequest
from tests.fakes.ddsm import make_ddsm
from tests.fakes.serving import training_channel

TRAIN_SLICE = events_pb2.TrainSlice.DESCRIPTOR.full_name


ROOT = Path(__file__).parents[2]
OF_OPERATORS = ("services/cli", *(f"services/common/{room}" for room in ("bus", "blobs", "records", "access")))
"""Folders whose errors quote settings and names of our own with !r, not what callers send."""


def test_errors_quote_short_parts_of_names() -> None:
    """Names are quoted with `quoted`, which redacts and cuts them; `!r` would quote all of an address of 60 kB."""
    whole = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "services").rglob("*.py")
        if not path.relative_to(ROOT).as_posix().startswith(OF_OPERATORS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FormattedValue) and node.conversion == ord("r")
    ]
    assert whole == []


def test_a_body_has_a_number_of_fields() -> None:
    """Many unknown fields are one error, which says how many there are, at every level. An error for each of them took
    a second for a body of the largest size."""
    many = {f"x{number}": 1 for number in range(MOST_FIELDS + 1)}
    for body, place in ((many, ""), ({"extraction": many}, "extraction")):
        with pytest.raises(ValidationError, match=f"there are {MOST_FIELDS + 1} fields") as refused:
            StartPlanRequest.model_validate(body)
        [fault] = refused.value.errors()
        assert ".".join(map(str, fault["loc"])) == place


def test_a_body_has_a_depth() -> None:
    """JSON with too many levels is answered as an error of the caller, with a message."""
    app = create_app("training", lambda: True)

    @app.post("/runs")
    def start(request: StartRunRequest) -> None:
        raise AssertionError(request)

    client = TestClient(app, raise_server_exceptions=False)
    body = '{"dataset_id":' + "[" * 100_000 + "]" * 100_000 + "}"
    answer = client.post("/runs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["message"]


def test_a_request_over_grpc_has_a_largest_size() -> None:
    """A request of about LARGEST_REQUEST bytes is read; a larger one ends as RESOURCE_EXHAUSTED before it is read."""

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(
            self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext
        ) -> training_pb2.GetRunResponse:
            return training_pb2.GetRunResponse()

    with training_channel(Servicer()) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        stub.GetRun(training_pb2.GetRunRequest(run_id="r" * (LARGEST_REQUEST - 100)), timeout=10)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetRun(training_pb2.GetRunRequest(run_id="r" * LARGEST_REQUEST), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(LARGEST_REQUEST) in refused.value.details()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"runId":"' + "r" * LONGEST_BODY + '"}', f"expected at most {LONGEST_BODY}"),
        ('{"runId":' + "[" * 50_000, "is no primitives"),
        ('{"x":' + '{"a":' * 50_000 + "1" + "}" * 50_001, "is no primitives"),
    ],
    ids=["long", "deep in a field", "deep outside the fields"],
)
def test_a_message_has_a_largest_length_and_depth(body: str, reason: str) -> None:
    """Beyond it, decoding raises InvalidInput, which parks the message at once."""
    with pytest.raises(InvalidInput, match=reason):
        decode(Envelope(TRAIN_SLICE, body, "one"))


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    """A file with one byte more is refused with both sizes; of an endless file no more than the limit is read."""
    file = tmp_path / "file"
    file.write_bytes(bytes(10))
    assert read_at_most(file, 10) == bytes(10)
    with pytest.raises(InvalidInput, match="has 10 bytes; at most 9 are read"):
        read_at_most(file, 9)
    with pytest.raises(InvalidInput, match="at most 1000 are read"):
        read_at_most(Path("/dev/zero"), 1000)


@pytest.mark.parametrize("limit", ["LARGEST_IMAGE", "LARGEST_LIST"])
def test_an_import_reads_lists_and_images_up_to_a_size(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names a patch or a list above the limit, and nothing is stored."""
    folder, blobs = make_ddsm(tmp_path / "ddsm", {"train": 3}), FolderBlobs(tmp_path / "blobs")
    monkeypatch.setattr(f"services.training.importer.{limit}", 20)
    with pytest.raises(InvalidInput, match="at most 20 are read"):
        import_directory(blobs, "training", ImportSource(folder, 3))
    assert list(blobs.list("training")) == []


def test_outlines_are_read_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names a file above the limit, and a line that is too deep."""
    file = tmp_path / "outlines.jsonl"
    file.write_text('{"mammogram":"m","phenomenon":"p","outline":' + "[" * 10_000)
    with pytest.raises(InvalidInput, match=r"outlines\.jsonl:1"):
        read_outlines(file, ["m"])
    monkeypatch.setattr("services.training.outlines.LARGEST_FILE", 20)
    with pytest.raises(InvalidInput, match="at most 20 are read"):
        read_outlines(file, ["m"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "x" * (1 << 20), "at most 1048576 are read"),
        ("a: &a [x]\nb: *a\n", r"the alias \*a is not accepted"),
        ("a: " + "[" * 20_000, "not a readable YAML"),
        ("data: " + json.dumps("y" * 1000), "not a file of the original"),
    ],
    ids=["large", "aliases", "deep", "long value"],
)
def test_yaml_has_limits(tmp_path: Path, text: str, reason: str) -> None:
    """Size and depth are limited. Aliases are refused: a few lines of them can expand to more than the memory.

    Errors quote only a short part of the file.
    """
    file = tmp_path / "run.yml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=reason) as refused:
        read_run(str(file))
    assert len(str(refused.value)) < 1000


def zipped(path: Path, compression: int, parts: int = 1) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for number in range(parts):
            archive.writestr(f"archive/data/{number}", bytes(1 << 20))
    return path


def test_weights_that_unpack_to_more_than_they_have_are_refused(tmp_path: Path) -> None:
    """A compressed archive is refused by its own directory, before any part is unpacked, and so is one with overlapping
    parts. Files written by PyTorch are read."""
    torch.save({"fc.weight": torch.zeros(1000, 1000)}, tmp_path / "own.pth")
    assert set(read_file(tmp_path / "own.pth")) == {"fc.weight"}
    with pytest.raises(InvalidInput, match="declares that it unpacks to 1048576"):
        read_file(zipped(tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED))
    overlapping = zipped(tmp_path / "overlapping.pth", zipfile.ZIP_STORED, 2)
    with zipfile.ZipFile(overlapping, "a") as archive:  # the central directory names the first part ten times
        archive.filelist += [archive.filelist[0]] * 9
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="declares that it unpacks to"):
        read_file(overlapping)


def test_weights_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file, its size and the limit."""
    torch.save({"fc.weight": torch.zeros(10)}, tmp_path / "w.pth")
    monkeypatch.setattr("services.imaging.checkpoint.LARGEST_FILE", 100)
    with pytest.raises(InvalidInput, match="at most 100 are read"):
        read_file(tmp_path / "w.pth")


@pytest.mark.parametrize("length", [LARGEST_HEADER + 1, 2**63, 2**64 - 1])
def test_a_header_of_tensors_has_a_largest_size(tmp_path: Path, length: int) -> None:
    """A safetensors file that declares a header of that size is refused before memory for it is allocated."""
    file = tmp_path / "x.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(InvalidInput, match=f"declares a header of {length} bytes"):
        local_tensors(file)
    with pytest.raises(InvalidInput, match="not a weights file"):
        read_file(file)


def test_tensors_that_are_larger_than_their_file_use_no_memory(tmp_path: Path) -> None:
    """Reading a tensor of a petabyte from a file of a few bytes ends at the end of the file."""
    entry = {"dtype": "F32", "shape": [1 << 24, 1 << 24], "data_offsets": [0, 1 << 50]}
    header = json.dumps({"maps": entry}).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    tensors = local_tensors(file)
    with pytest.raises(InvalidInput, match="ends within tensor maps"):
        tensors.all("maps")


def test_a_header_of_tensors_has_a_depth() -> None:
    """A header of JSON that is nested too deeply to be read is refused."""
    header = b"[" * 100_000
    content = len(header).to_bytes(8, "little") + header
    with pytest.raises(InvalidInput, match="x is not a safetensors file"):
        Tensors(lambda offset, length: content[offset : offset + length], "x")


def test_a_table_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet file that unpacks to more is refused by its own metadata; the error names a file that is no table."""
    blobs = FolderBlobs(tmp_path)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": np.arange(100_000)}), buffer, compression="zstd", use_dictionary=False)
    ref = blobs.put("training", "table.parquet", buffer.getvalue())
    assert read_table(blobs, ref).num_rows == 100_000
    monkeypatch.setattr("services.imaging.manifests.LARGEST_TABLE", 1000)
    with pytest.raises(
        InvalidInput, match=r"training/table\.parquet declares that it unpacks to \d+ bytes; at most 1000"
    ):
        read_table(blobs, ref)
    with pytest.raises(InvalidInput, match=r"training/none\.parquet is not a table"):
        read_table(blobs, blobs.put("training", "none.parquet", b"PAR1"))
