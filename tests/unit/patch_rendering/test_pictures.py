"""Pictures that are drawn when they are asked for."""

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
from services.patch_rendering.tables import Base, ExtractionRow
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
    """The service, told of one completed extraction, with a client of its API."""

    def __init__(self, folder: Path, ref: ObjectRef | None = None) -> None:
        super().__init__(folder, Base.metadata)
        if ref is None:
            _, ref = store_extraction(self.blobs, folder, "layer4")
        self.manifest = ExtractionManifest.model_validate_json(read_verified(self.blobs, ref))
        with self.ports.records.transaction() as session:
            session.add(ExtractionRow(extraction_id="extraction-1", manifest=ref.model_dump()))
        self.pictures = UnitPictures(self.ports, quality=85)
        renderings = Renderings(self.ports, FakeRunner(), RenderingSettings())  # type: ignore[arg-type]
        app: FastAPI = create_app("patch_rendering", lambda: True)
        add_routes(app, renderings, Queries(self.ports), self.pictures, Streams())
        self.client = TestClient(app)
        self.servicer = RenderingServicer(renderings, Queries(self.ports), self.pictures, Streams())

    def draw(self, **options: Any) -> bytes:
        """A picture of unit 1 unless another is wished for; a sheet if a `count` is."""
        kind = UnitSheetRequest if "count" in options else UnitPictureRequest
        fields = {"extraction_id": "extraction-1", "layer": "layer4", "unit": 1, "rank": 1} | options
        return self.pictures.draw(self.pictures.look_up(kind.model_validate(fields)))


@pytest.fixture
def extracted(tmp_path: Path) -> Extracted:
    return Extracted(tmp_path)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_what_is_drawn_lazily_is_what_a_rendering_holds(tmp_path: Path) -> None:
    """Byte for byte, pictures and sheets, of units of an extraction as the service makes it."""
    stored = Stored(tmp_path, "resnet18", 64)
    body = stored.run(["layer4"]).model_dump_json().encode()
    extracted = Extracted(tmp_path, ref := stored.blobs.put("activation-extraction", "manifest.json", body))
    for kind, format in (("overlay", "jpeg"), ("heat_map", "webp"), ("crop", "jpeg")):
        made = render_units(
            SilentJob(), blobs_url=stored.blobs.url, scratch=str(stored.scratch), rendering_id="r",  # type: ignore[arg-type]
            extraction=ref.model_dump(), layer="layer4", first=3, last=5, size=60, kind=kind, format=format,
        )["group"]  # fmt: skip
        pack = stored.blobs.get(made["pack"]["bucket"], made["pack"]["key"])
        rows = read_table(stored.blobs, ObjectRef.model_validate(made["pictures"])).to_pylist()
        assert len(rows) == 3 * K
        for row in rows:
            drawn = extracted.draw(unit=row["unit"], rank=row["rank"], kind=kind, format=format, size=60)
            assert drawn == pack[row["offset"] : row["offset"] + row["size"]]
        for row in read_table(stored.blobs, ObjectRef.model_validate(made["units"])).to_pylist():
            sheet = extracted.draw(unit=row["unit"], count=64, kind=kind, format=format, size=60)
            assert sheet == pack[row["sheet_offset"] : row["sheet_offset"] + row["sheet_size"]]


def test_no_more_is_drawn_at_once_than_memory_is_meant_for(
    extracted: Extracted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight that ask for different pictures at once the others wait; none is refused."""
    monkeypatch.setattr(pictures, "DRAWN_AT_ONCE", 2)
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
    asked = [
        UnitPictureRequest(extraction_id="extraction-1", layer="layer4", unit=unit, rank=rank)
        for unit in range(4)
        for rank in (1, 2)
    ]
    with ThreadPoolExecutor(len(asked)) as pool:
        drawn = list(pool.map(lambda one: few.draw(few.look_up(one)), asked))
    assert most == [2] and all(map(opened, drawn))


def test_http_and_grpc_answer_alike(extracted: Extracted) -> None:
    """The same bytes, of the format that was asked for; one who has them is told so without their being drawn."""
    for format in ("jpeg", "webp"):
        for path, call, request, fields in (
            ("pictures/2", extracted.servicer.GetUnitPicture, pb.GetUnitPictureRequest, {"rank": 2}),
            ("sheet", extracted.servicer.GetUnitSheet, pb.GetUnitSheetRequest, {"first": 2, "count": 2}),
        ):
            options = {"kind": "contour", "size": 40} | fields
            answer = extracted.client.get(f"{UNITS}/1/{path}.{format}", params=options | {"from": "sample"})
            assert answer.status_code == 200, answer.text
            told = call(
                request(
                    extraction_id="extraction-1", layer="layer4", unit=1, source="sample", format=format, **options
                ),
                None,
            )
            assert (answer.content, answer.headers["content-type"]) == (told.content, told.media_type)
            assert (opened(told.content).format, told.media_type) == (format.upper(), f"image/{format}")
            assert (answer.headers["etag"], "immutable" in answer.headers["cache-control"]) == (told.etag, True)
            again = extracted.client.get(
                f"{UNITS}/1/{path}.{format}", params=options | {"from": "sample"}, headers={"if-none-match": told.etag}
            )
            assert (again.status_code, again.content) == (304, b"")


def test_tags_tell_pictures_apart(extracted: Extracted) -> None:
    """Any other options has another tag; the same options has the same, in another process too."""
    variants = [
        {}, {"unit": 2}, {"rank": 2}, {"kind": "crop"}, {"format": "webp"}, {"size": 64}, {"source": "sample"},
    ]  # fmt: skip
    fields = {"extraction_id": "extraction-1", "layer": "layer4", "unit": 1, "rank": 1}
    requests = [UnitPictureRequest.model_validate(fields | options) for options in variants]
    tags = [extracted.pictures.look_up(request).etag for request in requests]
    assert len(set(tags)) == len(tags)
    another = UnitPictures(extracted.ports, quality=85)
    assert [another.look_up(request).etag for request in requests] == tags
    assert UnitPictures(extracted.ports, quality=60).look_up(requests[0]).etag not in tags


def test_the_sample_is_shown_by_falling_value(extracted: Extracted) -> None:
    """Rank 1 of the sample is the patch of the unit's largest value in it, ties to the lower patch id."""
    data = pictures.Dataset.open(extracted.blobs, extracted.manifest.dataset)
    source = SourcePatches(data, data.read, 60)
    ids = [row["patch_id"] for row in data.index.to_pylist() if row["split"] == "val"][:SAMPLE]
    for rank, position in enumerate((1, 3, 2, 4, 0), 1):  # values 0.5, 0.5, 0.3, 0.2, 0.1
        expected = Encoding().encode(source.stack(np.asarray([ids[position]])))
        assert [extracted.draw(rank=rank, source="sample", kind="crop", size=60)] == expected


def test_a_silent_unit_is_shown_dimmed(extracted: Extracted) -> None:
    """It has pictures of its patches, with nothing kept of them."""
    data = pictures.Dataset.open(extracted.blobs, extracted.manifest.dataset)
    first = [row["patch_id"] for row in data.index.to_pylist() if row["split"] == "val"][1]
    dimmed = DIMMED[SourcePatches(data, data.read, 60).stack(np.asarray([first]))]
    assert [extracted.draw(unit=SILENT, source="sample", size=60)] == Encoding().encode(dimmed)


def test_a_sheet_ends_with_the_ranks(extracted: Extracted) -> None:
    """A sheet of more than there is holds what there is."""
    assert opened(extracted.draw(count=64, size=40)).size == (160, 20)
    assert extracted.draw(first=2, count=64, size=40) == extracted.draw(first=2, count=TOP - 1, size=40)


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("extraction-2/layers/layer4/units/1/pictures/1.jpeg", 404, "no completed extraction 'extraction-2'"),
        ("extraction-1/layers/conv9/units/1/pictures/1.jpeg", 404, "no layer 'conv9'; it has layer4"),
        ("extraction-1/layers/layer4/units/6/pictures/1.jpeg", 404, "has units 0 to 5; asked for 6"),
        ("extraction-1/layers/layer4/units/-1/sheet.jpeg", 404, "has units 0 to 5; asked for -1"),
        ("extraction-1/layers/layer4/units/1/pictures/5.jpeg", 404, "has ranks 1 to 4 of its top; asked for 5"),
        ("extraction-1/layers/layer4/units/1/pictures/0.jpeg", 404, "has ranks 1 to 4 of its top; asked for 0"),
        ("extraction-1/layers/layer4/units/1/sheet.jpeg?first=9&from=sample", 404, "ranks 1 to 5 of its sample"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?kind=mammogram", 404, "has no mammogram"),
        ("extraction-1/layers/layer4/units/1/pictures/1.png", 422, "format"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?kind=photo", 422, "kind"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?from=bottom", 422, "from"),
        ("extraction-1/layers/layer4/units/1/pictures/1.jpeg?size=5000", 422, "size"),
        ("extraction-1/layers/layer4/units/1/sheet.jpeg?count=65", 422, "count"),
        ("extraction-1/layers/layer4/units/none/sheet.jpeg", 422, "unit"),
    ],
)
def test_what_is_not_there_is_named(extracted: Extracted, path: str, status: int, told: str) -> None:
    """404 for what there is not, 422 for what there cannot be."""
    answer = extracted.client.get(f"/v1/extractions/{path}")
    assert (answer.status_code, told in answer.json()["message"]) == (status, True), answer.text


def test_an_extraction_of_an_old_format_is_a_conflict(tmp_path: Path) -> None:
    """It says what it is and what to do."""
    extracted = Extracted(tmp_path)
    old = extracted.blobs.put("activation-extraction", "old", b'{"format": 1, "extraction_id": "extraction-0"}')
    with extracted.ports.records.transaction() as session:
        session.add(ExtractionRow(extraction_id="extraction-0", manifest=old.model_dump()))
    with pytest.raises(Conflict, match="extraction-0 is of format 1; expected 2: extract again"):
        extracted.draw(extraction_id="extraction-0")


def test_no_more_is_read_than_is_needed(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a layer's state its header, once, and one unit's rows; of the patches one each; a picture that was drawn is
    kept."""
    whole: list[str] = []
    ranged: list[tuple[str, int]] = []
    get, get_range = extracted.blobs.get, extracted.blobs.get_range
    monkeypatch.setattr(extracted.blobs, "get", lambda bucket, key: (whole.append(key), get(bucket, key))[1])

    def counting(bucket: str, key: str, offset: int, length: int) -> bytes:
        content = get_range(bucket, key, offset, length)
        ranged.append((key.rpartition("/")[2], len(content)))
        return content

    monkeypatch.setattr(extracted.blobs, "get_range", counting)
    first = extracted.draw()
    unit = [("top.safetensors", size) for size in (8 * TOP, 4 * TOP, 2 * 4 * TOP, 2 * 4 * TOP)]
    assert [read for read in ranged if read[0] == "top.safetensors"][1:] == unit
    assert sum(read[0].endswith(".tar") for read in ranged) == 1
    assert not any("safetensors" in key or key.endswith(".tar") for key in whole)
    ranged.clear()
    whole.clear()
    assert extracted.draw() == first
    assert (ranged, whole) == ([], [])
    extracted.draw(rank=2)
    assert [name.endswith(".tar") for name, _ in ranged] == [True]


def test_many_at_once_are_drawn_as_one_by_one(extracted: Extracted) -> None:
    """Threads that ask for the same and for other pictures get what one alone gets."""
    variants = [{"unit": unit, "rank": rank, "size": 40} for unit in range(6) for rank in (1, 2, 3)] * 3
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda options: extracted.draw(**options), variants))
    alone = UnitPictures(extracted.ports, quality=85)
    extracted.pictures = alone
    assert together == [extracted.draw(**options) for options in variants]


def test_what_is_kept_is_bounded(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoded pictures stay below the limit, however many are asked for; what was let go is drawn again the same."""
    size = len(extracted.draw())
    monkeypatch.setattr(pictures, "ENCODED_KEPT", 3 * size)
    extracted.pictures = small = UnitPictures(extracted.ports, quality=85)
    first = extracted.draw()
    for unit in range(6):
        for rank in range(1, TOP + 1):
            extracted.draw(unit=unit, rank=rank)
    assert 0 < small._encoded.weight <= 3 * size
    assert extracted.draw() == first


def test_a_rendering_of_another_kind_is_asked_for_by_name(extracted: Extracted) -> None:
    """gRPC refuses a kind that there is not, as HTTP does."""
    with pytest.raises(InvalidInput, match="kind"):
        extracted.servicer.StartRendering(pb.StartRenderingRequest(extraction_id="extraction-1", kind="photo"), None)
    with pytest.raises(NotFound, match="ranks 1 to 4"):
        extracted.servicer.GetUnitPicture(
            pb.GetUnitPictureRequest(extraction_id="extraction-1", layer="layer4", unit=1), None
        )
