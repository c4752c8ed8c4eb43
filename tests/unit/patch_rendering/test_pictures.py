"""Pictures that are drawn on request."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from primitives.patch_rendering.v1 import patch_rendering_pb2 as pb

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.http.app import create_app
from services.common.http.streams import Streams
from services.imaging.manifests import ExtractionManifest, read_table
from services.patch_rendering.api import add_routes
from services.patch_rendering.encoding import Encoding
from services.patch_rendering.job import render_units
from services.patch_rendering.overlay import DIMMED
from services.patch_rendering.rpc import RenderingServicer
from services.patch_rendering.schemas import UnitPictureRequest, UnitSheetRequest
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.specs import RenderSpec
from services.patch_rendering.tables import Base, ReceivedExtractionRow
from services.patch_rendering.unit_maps import UnitMaps
from services.patch_rendering.workflow import pictures
from services.patch_rendering.workflow.pictures import UnitPictures
from services.patch_rendering.workflow.queries import Queries
from services.patch_rendering.workflow.renderings import Renderings
from tests.fakes.data import SilentJob
from tests.fakes.extraction import SAMPLE, SILENT, TOP, store_extraction
from tests.fakes.ports import FakeRunner, World
from tests.unit.activation_extraction.test_extract import K, Stored

UNITS = "/v1/extractions/extraction-1/layers/layer4/units"


class Extracted(World):
    """The service with the record of one completed extraction, and a client of its API."""

    def __init__(self, folder: Path, ref: ObjectRef | None = None) -> None:
        super().__init__(folder, Base.metadata)
        if ref is None:
            _, ref = store_extraction(self.blobs, folder, "layer4")
        self.manifest = ExtractionManifest.model_validate_json(read_verified(self.blobs, ref))
        with self.ports.records.transaction() as session:
            session.add(ReceivedExtractionRow(extraction_id="extraction-1", manifest=ref))
        self.pictures = UnitPictures(self.ports, quality=85)
        renderings = Renderings(self.ports, FakeRunner(), RenderingSettings())  # type: ignore[arg-type]
        app: FastAPI = create_app("patch_rendering", lambda: True)
        add_routes(app, renderings, Queries(self.ports), self.pictures, Streams())
        self.client = TestClient(app)
        self.servicer = RenderingServicer(renderings, Queries(self.ports), self.pictures, Streams())

    def draw(self, **options: Any) -> bytes:
        """Draw a picture of unit 1, or what the options say; with a `count`, draw a sheet."""
        kind = UnitSheetRequest if "count" in options else UnitPictureRequest
        fields = {"extraction_id": "extraction-1", "layer": "layer4", "unit": 1, "rank": 1} | options
        return self.pictures.draw(self.pictures.find(kind.model_validate(fields)))


@pytest.fixture
def extracted(tmp_path: Path) -> Extracted:
    return Extracted(tmp_path)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_pictures_drawn_on_request_equal_those_of_a_rendering(tmp_path: Path) -> None:
    """Pictures and sheets are equal byte for byte, for units of an extraction that the product made."""
    stored = Stored(tmp_path, "resnet18", 64)
    body = stored.run(["layer4"]).model_dump_json().encode()
    extracted = Extracted(tmp_path, ref := stored.blobs.put("activation-extraction", "manifest.json", body))
    for kind, format in (("overlay", "jpeg"), ("heat_map", "webp"), ("crop", "jpeg")):
        spec = RenderSpec(
            blobs_url=stored.blobs.url, scratch=str(stored.scratch), rendering_id="r", extraction=ref, layer="layer4",
            first=3, last=5, size=60, kind=kind, format=format,
        )  # fmt: skip
        group = render_units(SilentJob(), spec).group  # type: ignore[arg-type]
        pack = stored.blobs.get(group.pack.bucket, group.pack.key)
        rows = read_table(stored.blobs, group.pictures).to_pylist()
        assert len(rows) == 3 * K
        for row in rows:
            drawn = extracted.draw(unit=row["unit"], rank=row["rank"], kind=kind, format=format, size=60)
            assert drawn == pack[row["offset"] : row["offset"] + row["size"]]
        for row in read_table(stored.blobs, group.units).to_pylist():
            sheet = extracted.draw(unit=row["unit"], count=64, kind=kind, format=format, size=60)
            assert sheet == pack[row["sheet_offset"] : row["sheet_offset"] + row["sheet_size"]]


def test_few_pictures_are_drawn_at_the_same_time(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight concurrent requests for different pictures, two are drawn at a time; the others wait and none is
    refused."""
    monkeypatch.setattr(pictures, "CONCURRENT_DRAWINGS", 2)
    few, both, lock = UnitPictures(extracted.ports, quality=85), threading.Barrier(2), threading.Lock()
    drawing: list[int] = []
    overlay, most = pictures.KINDS["overlay"], [0]

    def slow(unit_maps: UnitMaps, source: SourcePatches) -> np.ndarray:
        with lock:
            drawing.append(unit_maps.unit)
            most[0] = max(most[0], len(drawing))
        both.wait(10)
        with lock:
            drawing.remove(unit_maps.unit)
        return overlay(unit_maps, source)

    monkeypatch.setitem(pictures.KINDS, "overlay", slow)
    requests = [
        UnitPictureRequest(extraction_id="extraction-1", layer="layer4", unit=unit, rank=rank)
        for unit in range(4)
        for rank in (1, 2)
    ]
    with ThreadPoolExecutor(len(requests)) as pool:
        drawn = list(pool.map(lambda one: few.draw(few.find(one)), requests))
    assert most == [2] and all(map(opened, drawn))


def test_http_and_grpc_answer_alike(extracted: Extracted) -> None:
    """HTTP and gRPC return the same bytes in the requested format. A caller that has the picture gets 304, and nothing
    is drawn."""
    for format in ("jpeg", "webp"):
        for path, call, request, fields in (
            ("pictures/2", extracted.servicer.GetUnitPicture, pb.GetUnitPictureRequest, {"rank": 2}),
            ("sheet", extracted.servicer.GetUnitSheet, pb.GetUnitSheetRequest, {"first": 2, "count": 2}),
        ):
            options = {"kind": "contour", "size": 40} | fields
            answer = extracted.client.get(f"{UNITS}/1/{path}.{format}", params=options | {"from": "sample"})
            assert answer.status_code == 200, answer.text
            message = call(
                request(
                    extraction_id="extraction-1", layer="layer4", unit=1, source="sample", format=format, **options
                ),
                None,
            )
            assert (answer.content, answer.headers["content-type"]) == (message.content, message.media_type)
            assert (opened(message.content).format, message.media_type) == (format.upper(), f"image/{format}")
            assert (answer.headers["etag"], "immutable" in answer.headers["cache-control"]) == (message.etag, True)
            again = extracted.client.get(
                f"{UNITS}/1/{path}.{format}",
                params=options | {"from": "sample"},
                headers={"if-none-match": message.etag},
            )
            assert (again.status_code, again.content) == (304, b"")


def test_a_unit_is_identified_by_its_name_or_its_channel(extracted: Extracted) -> None:
    """HTTP and gRPC return the same picture for `unit_0002` and for channel 1; a name that does not exist is
    refused."""
    for path in ("pictures/2.jpeg", "sheet.jpeg"):
        by_name, by_channel = (extracted.client.get(f"{UNITS}/{unit}/{path}") for unit in ("unit_0002", "1"))
        assert by_name.status_code == 200, by_name.text
        assert (by_name.content, by_name.headers["etag"]) == (by_channel.content, by_channel.headers["etag"])
    for call, request in (
        (extracted.servicer.GetUnitPicture, pb.GetUnitPictureRequest),
        (extracted.servicer.GetUnitSheet, pb.GetUnitSheetRequest),
    ):
        options = {"extraction_id": "extraction-1", "layer": "layer4"}
        options |= {"rank": 1} if request is pb.GetUnitPictureRequest else {"first": 1}
        assert call(request(unit_name="unit_0002", **options), None) == call(request(unit=1, **options), None)
        with pytest.raises(InvalidInput, match="'unit_0000' names no unit"):
            call(request(unit_name="unit_0000", **options), None)


def test_entity_tags_identify_pictures(extracted: Extracted) -> None:
    """Different options have different tags; equal options have equal tags, also in another process."""
    variants = [
        {}, {"unit": 2}, {"rank": 2}, {"kind": "crop"}, {"format": "webp"}, {"size": 64}, {"source": "sample"},
    ]  # fmt: skip
    fields = {"extraction_id": "extraction-1", "layer": "layer4", "unit": 1, "rank": 1}
    requests = [UnitPictureRequest.model_validate(fields | options) for options in variants]
    tags = [extracted.pictures.find(request).etag for request in requests]
    assert len(set(tags)) == len(tags)
    another = UnitPictures(extracted.ports, quality=85)
    assert [another.find(request).etag for request in requests] == tags
    assert UnitPictures(extracted.ports, quality=60).find(requests[0]).etag not in tags


def test_the_sample_is_ordered_by_falling_value(extracted: Extracted) -> None:
    """Rank 1 of the sample is the patch with the unit's largest value; of equal values, the lower patch id is first."""
    data = pictures.Dataset.open(extracted.blobs, extracted.manifest.dataset)
    source = SourcePatches(data, data.read, 60)
    ids = [row["patch_id"] for row in data.index.to_pylist() if row["split"] == "val"][:SAMPLE]
    for rank, position in enumerate((1, 3, 2, 4, 0), 1):  # values 0.5, 0.5, 0.3, 0.2, 0.1
        expected = Encoding().encode(source.stack(np.asarray([ids[position]])))
        assert [extracted.draw(rank=rank, source="sample", kind="crop", size=60)] == expected


def test_a_silent_unit_has_dimmed_pictures(extracted: Extracted) -> None:
    """The overlays of a silent unit show its patches dimmed everywhere."""
    data = pictures.Dataset.open(extracted.blobs, extracted.manifest.dataset)
    first = [row["patch_id"] for row in data.index.to_pylist() if row["split"] == "val"][1]
    dimmed = DIMMED[SourcePatches(data, data.read, 60).stack(np.asarray([first]))]
    assert [extracted.draw(unit=SILENT, source="sample", size=60)] == Encoding().encode(dimmed)


def test_a_sheet_ends_with_the_ranks(extracted: Extracted) -> None:
    """A sheet of more ranks than exist contains the ranks that exist."""
    assert opened(extracted.draw(count=64, size=40)).size == (160, 20)
    assert extracted.draw(first=2, count=64, size=40) == extracted.draw(first=2, count=TOP - 1, size=40)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("extraction-2/layers/layer4/units/1/pictures/1.jpeg", 404, "no completed extraction 'extraction-2'"),
        ("extraction-1/layers/conv9/units/1/pictures/1.jpeg", 404, "no layer 'conv9'; it has layer4"),
        ("extraction-1/layers/layer4/units/6/pictures/1.jpeg", 404, "has units 0 to 5; requested 6"),
        ("extraction-1/layers/layer4/units/-1/sheet.jpeg", 404, "has units 0 to 5; requested -1"),
        ("extraction-1/layers/layer4/units/1/pictures/5.jpeg", 404, "has ranks 1 to 4 in its top; requested 5"),
        ("extraction-1/layers/layer4/units/1/pictures/0.jpeg", 404, "has ranks 1 to 4 in its top; requested 0"),
        ("extraction-1/layers/layer4/units/1/sheet.jpeg?first=9&from=sample", 404, "ranks 1 to 5 in its sample"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?kind=mammogram", 404, "has no mammogram"),
        ("extraction-1/layers/layer4/units/1/pictures/1.png", 422, "format"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?kind=photo", 422, "kind"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?from=bottom", 422, "from"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?size=5000", 422, "size"),
        ("extraction-1/layers/layer4/units/1/sheet.jpeg?count=65", 422, "count"),
        ("extraction-1/layers/layer4/units/none/sheet.jpeg", 422, "unit"),
        ("extraction-1/layers/layer4/units/unit_0000/sheet.jpeg", 422, "unit"),
        ("extraction-1/layers/layer4/units/unit_0007/sheet.jpeg", 404, "has units 0 to 5; requested 6"),
    ],
)
def test_a_request_for_a_missing_picture_is_answered_with_the_reason(
    extracted: Extracted, path: str, status: int, message: str
) -> None:
    """The answer is 404 for something that does not exist and 422 for an invalid value."""
    answer = extracted.client.get(f"/v1/extractions/{path}")
    assert (answer.status_code, message in answer.json()["message"]) == (status, True), answer.text


def test_an_extraction_of_an_old_format_is_a_conflict(tmp_path: Path) -> None:
    """The error contains the format and says what to do."""
    extracted = Extracted(tmp_path)
    old = extracted.blobs.put("activation-extraction", "old", b'{"format": 1, "extraction_id": "extraction-0"}')
    with extracted.ports.records.transaction() as session:
        session.add(ReceivedExtractionRow(extraction_id="extraction-0", manifest=old))
    with pytest.raises(Conflict, match="extraction-0 is of format 1; expected 2: extract again"):
        extracted.draw(extraction_id="extraction-0")


def test_only_what_a_picture_needs_is_read(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing reads the header of a layer's state once, one unit's rows, and one range per patch; a picture that was
    drawn is cached."""
    full: list[str] = []
    ranged: list[tuple[str, int]] = []
    get, get_range = extracted.blobs.get, extracted.blobs.get_range
    monkeypatch.setattr(extracted.blobs, "get", lambda bucket, key: (full.append(key), get(bucket, key))[1])

    def counting(bucket: str, key: str, offset: int, length: int) -> bytes:
        content = get_range(bucket, key, offset, length)
        ranged.append((key.rpartition("/")[2], len(content)))
        return content

    monkeypatch.setattr(extracted.blobs, "get_range", counting)
    first = extracted.draw()
    unit = [("top.safetensors", size) for size in (8 * TOP, 4 * TOP, 2 * 4 * TOP, 2 * 4 * TOP)]
    assert [read for read in ranged if read[0] == "top.safetensors"][1:] == unit
    assert sum(read[0].endswith(".tar") for read in ranged) == 1
    assert not any("safetensors" in key or key.endswith(".tar") for key in full)
    ranged.clear()
    full.clear()
    assert extracted.draw() == first
    assert (ranged, full) == ([], [])
    extracted.draw(rank=2)
    assert [name.endswith(".tar") for name, _ in ranged] == [True]


def test_concurrent_requests_get_the_same_pictures(extracted: Extracted) -> None:
    """Threads that request equal and different pictures get the same bytes as one thread alone."""
    variants = [{"unit": unit, "rank": rank, "size": 40} for unit in range(6) for rank in (1, 2, 3)] * 3
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda options: extracted.draw(**options), variants))
    alone = UnitPictures(extracted.ports, quality=85)
    extracted.pictures = alone
    assert together == [extracted.draw(**options) for options in variants]


def test_the_cache_of_pictures_is_bounded(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoded pictures in the cache stay below the limit; an evicted picture is drawn again, with equal bytes."""
    size = len(extracted.draw())
    monkeypatch.setattr(pictures, "CACHED_PICTURE_BYTES", 3 * size)
    extracted.pictures = small = UnitPictures(extracted.ports, quality=85)
    first = extracted.draw()
    for unit in range(6):
        for rank in range(1, TOP + 1):
            extracted.draw(unit=unit, rank=rank)
    assert 0 < small._encoded.weight <= 3 * size
    assert extracted.draw() == first


def test_grpc_refuses_invalid_requests(extracted: Extracted) -> None:
    """gRPC refuses an unknown kind and a rank that does not exist, as HTTP does."""
    with pytest.raises(InvalidInput, match="kind"):
        extracted.servicer.StartRendering(pb.StartRenderingRequest(extraction_id="extraction-1", kind="photo"), None)
    with pytest.raises(NotFound, match="ranks 1 to 4"):
        extracted.servicer.GetUnitPicture(
            pb.GetUnitPictureRequest(extraction_id="extraction-1", layer="layer4", unit=1), None
        )
