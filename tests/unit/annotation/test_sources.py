"""The sources of patches and mammograms: true grey values, to nobody but the reader, and nothing but grey values.

Pages of units, of readings and of labels have them.
"""

import gzip
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import update

from services.annotation.picture_responses import CACHING
from services.annotation.schemas import MammogramView
from services.annotation.sources import LARGEST_SIDE, GreySources, Region, StoredPatch, differences, png
from services.annotation.tables import MammogramRow, UnitRow
from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput, NotFound
from tests.fakes.annotation import LAYER, SILENT, Annotation, Browser
from tests.fakes.reading import ReaderStudy
from tests.fakes.rendering import MAMMOGRAMS, source_patch

Grey = NDArray[np.uint8] | NDArray[np.uint16]


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    units = {"choose": "named", "units": {LAYER: [0, 1]}}
    return ReaderStudy(annotation, ["Ana", "Ben"], units=units, readers_per_unit=1)


def grey_of(response: httpx.Response) -> Grey:
    """The values that the viewer computes from an answer."""
    assert response.status_code == 200, response.text
    height, width, bits = (int(response.headers[name]) for name in ("x-height", "x-width", "x-bits"))
    kind = np.dtype("<u2") if bits == 16 else np.dtype(np.uint8)
    steps = np.frombuffer(response.content, kind).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=kind)


def picture_of(response: httpx.Response) -> Grey:
    """The values of an image."""
    assert response.status_code == 200 and response.headers["cache-control"] == CACHING
    return np.asarray(Image.open(io.BytesIO(response.content)))


@pytest.mark.parametrize("bits", [8, 16])
def test_differences_keep_every_grey_value(bits: int) -> None:
    """Sums of differences are the values, also where neighbours differ by more than half of the range."""
    grey = np.random.default_rng(bits).integers(0, 2**bits, (7, 5)).astype(f"<u{bits // 8}")
    steps = np.frombuffer(gzip.decompress(differences(Image.fromarray(grey))), grey.dtype).reshape(7, 5)
    assert (np.cumsum(steps, axis=1, dtype=grey.dtype) == grey).all()


def check_patches(browser: Browser, folder: str) -> None:
    """Check that the first two patches below an address have the values and the bits of the data set."""
    for number, bits in ((1, 8), (2, 16)):
        answer = browser.get(f"{folder}/{number}.grey")
        assert answer.headers["x-bits"] == str(bits) and answer.headers["cache-control"] == CACHING
        assert (grey_of(answer) == source_patch(number)).all()


def check_mammogram(annotation: Annotation, browser: Browser, folder: str, deep: MammogramView) -> None:
    """Check the regions of the mammogram with 16 bits: a small one is exact, the whole is shrunk, one outside is
    refused."""
    assert deep.has_source and (deep.height, deep.width) == MAMMOGRAMS[0][3:]
    address = f"{folder}/{deep.number}.grey"
    whole = grey_of(browser.get(address))
    assert whole.dtype == np.uint16 and whole.shape == (LARGEST_SIDE, round(deep.width * LARGEST_SIDE / deep.height))
    stored = stored_mammogram(annotation)
    part = grey_of(browser.get(address, params={"region": "800-100-300-200"}))
    assert (part == stored[800:1100, 100:300]).all()
    edge = grey_of(browser.get(address, params={"region": "1500-900-999-999"}))
    assert (edge == stored[1500:, 900:]).all()
    for wrong in ("1600-0-1-1", "0-0-0-1", "a-b-c-d", "1-2-3"):
        assert browser.get(address, params={"region": wrong}).status_code == 422


def stored_mammogram(annotation: Annotation) -> Grey:
    """The grey values of the mammogram with 16 bits."""
    return np.asarray(Image.open(io.BytesIO(annotation.blobs.get("training", "datasets/mammograms/0.png"))))


def test_a_reader_gets_the_stored_grey_values_of_a_patch(annotation: Annotation, study: ReaderStudy) -> None:
    """On the page and over the API, a patch has the values and the bits of the data set."""
    [reading_id, *_] = study.ids("Ana")
    browser = annotation.browser("Ana")
    check_patches(browser, f"/readings/{reading_id}/patches")
    for number, bits in ((1, 8), (2, 16)):
        headers = {"x-reader": "Ana"}
        stored = picture_of(browser.get(f"/v1/readings/{reading_id}/patches/{number}/source", headers=headers))
        assert stored.dtype.itemsize == bits // 8 and (stored == source_patch(number)).all()


def test_a_region_of_a_mammogram_has_its_pixels(annotation: Annotation, study: ReaderStudy) -> None:
    """On the page and over the API, in 16 bits."""
    [reading_id, *_] = study.ids("Ana")
    view = study.readings.get(study.reader("Ana"), reading_id)
    deep = next(one for one in view.mammograms if one.may_be_deep)
    browser = annotation.browser("Ana")
    check_mammogram(annotation, browser, f"/readings/{reading_id}/mammograms", deep)
    picture = picture_of(browser.get(f"/v1/readings/{reading_id}/mammograms/{deep.number}/source?region=0-0-50-40"))
    assert (picture == stored_mammogram(annotation)[:50, :40]).all()


def test_the_survey_of_a_unit_has_the_same_sources(annotation: Annotation) -> None:
    """Its pictures and the mammograms of its study have them, and the page and the API say so."""
    browser, [study_id, layer, _] = annotation.browser("Ana"), annotation.key()
    check_patches(browser, f"/pictures/{study_id}/{layer}/unit_0001")
    unit = annotation.units.get(annotation.readers.named("Ana"), annotation.key())
    deep = next(one for one in unit.mammograms if one.may_be_deep)
    check_mammogram(annotation, browser, f"/mammograms/{study_id}", deep)
    page = browser.get(annotation.unit_path()).text
    assert page.count(" data-source=") == len(unit.pictures) == 64
    assert f'data-source="/pictures/{study_id}/{layer}/unit_0001/64.grey"' in page
    assert f'data-mammogram-source="/mammograms/{study_id}/{deep.number}.grey" data-deep' in page
    fields = browser.get(annotation.api_path(), headers={"x-reader": "Ana"}).json()
    assert fields["has_sources"] and all(one["has_source"] for one in fields["mammograms"])


def test_a_picture_that_a_unit_does_not_have_has_no_source(annotation: Annotation) -> None:
    """The error names the unit, the rank and the number of pictures, as for pictures; a silent unit has none."""
    ana = annotation.readers.named("Ana")
    for unit, rank, count in ((0, 65, 64), (0, 0, 64), (SILENT, 1, 0)):
        expected = f"unit_000{unit + 1} of {LAYER} has no picture of rank {rank}; it has {count}$"
        for read in (annotation.units.picture, annotation.units.source):
            with pytest.raises(NotFound, match=expected):
                read(ana, annotation.key(unit), rank)
    with pytest.raises(NotFound, match="has no mammogram 2"):
        annotation.units.region(ana, annotation.study_id, 2, None)


def test_sources_are_for_the_reader_of_the_reading_only(annotation: Annotation, study: ReaderStudy) -> None:
    """Another reader, nobody, and a mammogram that no patch was cut from get nothing, as with any other picture."""
    [reading_id, *_] = study.ids("Ana")
    other, nobody, own = annotation.browser("Ben"), annotation.browser(), annotation.browser("Ana")
    addresses = (f"/readings/{reading_id}/patches/1.grey", f"/readings/{reading_id}/mammograms/0.grey")
    assert [other.get(address).status_code for address in addresses] == [404, 404]
    assert nobody.get(addresses[0]).status_code == 401
    numbers = {one.number for one in study.readings.get(study.reader("Ana"), reading_id).mammograms}
    unused = next(number for number in range(9) if number not in numbers)
    assert own.get(f"/readings/{reading_id}/mammograms/{unused}.grey").status_code == 404
    assert own.get(f"/readings/{reading_id}/patches/17.grey").status_code == 404


def test_stored_files_are_never_passed_on(tmp_path: Path) -> None:
    """A PNG may name the patient in a text; what readers get has only grey values."""
    blobs, image, notes = FolderBlobs(tmp_path), io.BytesIO(), PngInfo()
    notes.add_text("PatientName", "Doe^Jane")
    Image.fromarray(source_patch(2)).save(image, "PNG", pnginfo=notes)
    ref = blobs.put("training", "shard", image.getvalue())
    read = GreySources().patch(blobs, StoredPatch(("training", ref.key), 0, ref.size))
    assert b"Doe" in image.getvalue() and b"Doe" not in png(read) and b"Doe" not in gzip.decompress(differences(read))


def test_a_mammogram_is_decoded_once(annotation: Annotation) -> None:
    """A reader looks at several parts of a mammogram; it stays decoded, up to a limit of bytes."""
    sources, place = GreySources(), ("training", "datasets/mammograms/0.png")
    sources.mammogram(annotation.blobs, place, None)
    weight = sources.decoded.weight
    assert weight == 2 * MAMMOGRAMS[0][3] * MAMMOGRAMS[0][4]
    sources.mammogram(annotation.blobs, place, Region(0, 0, 10, 10))
    assert sources.decoded.weight == weight <= sources.decoded.limit


def test_a_study_of_before_shows_its_pictures(annotation: Annotation, study: ReaderStudy) -> None:
    """A study that was opened before sources were recorded has none: the pages name the rendered pictures alone."""
    with annotation.ports.records.transaction() as session:
        session.execute(update(UnitRow).values(sources=None))
        session.execute(update(MammogramRow).values(source_key=None))
    [reading_id, *_], [study_id, layer, _] = study.ids("Ana"), annotation.key()
    browser = annotation.browser("Ana")
    view = study.readings.get(study.reader("Ana"), reading_id)
    assert not any(patch.has_source for patch in view.patches)
    number, reading = view.mammograms[0].number, f"/readings/{reading_id}"
    sources = {
        reading: (f"{reading}/patches/1.grey", f"{reading}/mammograms/{number}.grey"),
        annotation.unit_path(): (f"/pictures/{study_id}/{layer}/unit_0001/1.grey", f"/mammograms/{study_id}/0.grey"),
    }
    for path, addresses in sources.items():
        page = browser.get(path).text
        assert "data-source" not in page and "data-mammogram-source" not in page and "data-mammogram=" in page
        for address in addresses:
            answer = browser.get(address)
            assert answer.status_code == 404 and "before" in answer.text


def test_an_adjudicator_sees_the_same_sources(annotation: Annotation, study: ReaderStudy) -> None:
    """The page of a label has the sources too, once the protocol is closed."""
    for name in ("Ana", "Ben"):
        study.answer_all(name)
    browser = annotation.browser("Ana")
    place = f"/labels/{study.key[0]}/{study.key[1]}/0"
    assert browser.get(f"{place}/patches/2.grey").status_code == 403
    study.protocols.close(study.key)
    assert (grey_of(browser.get(f"{place}/patches/2.grey")) == source_patch(2)).all()
    assert f'data-source="{place}/patches/2.grey"' in browser.get(place).text
    number = study.readings.get(study.reader("Ana"), study.ids("Ana")[0]).mammograms[0].number
    assert grey_of(browser.get(f"{place}/mammograms/{number}.grey", params={"region": "0-0-9-8"})).shape == (9, 8)


def test_a_region_is_read_strictly() -> None:
    """Four numbers of at most six digits; anything else names the text."""
    assert Region.parse("") is None and Region.parse("1-2-3-4") == Region(1, 2, 3, 4)
    for text in ("1-2-3", "1-2-3-4-5", "-1-2-3-4", "1234567-0-1-1", "1-2-3-4 "):
        with pytest.raises(InvalidInput, match="not a region"):
            Region.parse(text)
