"""A gallery, built by the command's own code and opened from disk in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.cli.gallery.build import GalleryOptions, build_gallery
from services.common.blobs import FolderBlobs
from services.imaging.dataset import Dataset
from tests.e2e.browser import NARROW, WIDE, chromium, layout_faults
from tests.fakes.extraction import SILENT, store_extraction

NOTICE = "Simulated <script>document.title = 'taken'</script> & lesions"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a gallery of six units, one of them silent. The notice of the data set contains markup."""
    folder = tmp_path_factory.mktemp("gallery")
    blobs = FolderBlobs(folder / "blobs")
    manifest, _ = store_extraction(blobs, folder, "layer4")
    dataset = Dataset.open(blobs, manifest.dataset).manifest.model_copy(update={"notice": NOTICE})
    noted = blobs.put("training", "noted.json", dataset.model_dump_json().encode())
    body = manifest.model_copy(update={"dataset": noted}).model_dump_json().encode()
    ref = blobs.put("activation-extraction", "noted.json", body)
    (folder / "scratch").mkdir()
    progress: list[tuple[int, int]] = []
    options = GalleryOptions((), None, "overlay", "webp", 3, 64)
    built = build_gallery(blobs, folder / "scratch", ref, folder / "pages", options, lambda *one: progress.append(one))
    assert progress[-1] == (6, 6)
    return built


@pytest.fixture(scope="module", params=[WIDE, NARROW], ids=["wide", "narrow"])
def page(index: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    with chromium() as browser:
        opened = browser.new_page(viewport=request.param)
        faults: list[str] = []
        opened.on("console", lambda message: faults.append(message.text))
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("requestfailed", lambda failed: faults.append(failed.url))
        opened.on("request", lambda sent: None if sent.url.startswith(("file:", "data:")) else faults.append(sent.url))
        opened.goto(index.as_uri())
        yield opened
        assert faults == []


def unit_names(page: Page) -> list[str]:
    return page.locator("#units b").all_inner_texts()


def test_a_gallery_works_from_disk(page: Page) -> None:
    """The links lead to a layer, which can be sorted, to a unit, its neighbours and a similar unit, and back. All pages
    have a sound layout and show the notice as text."""
    check_page(page)
    page.get_by_role("link", name="layer4").click()
    check_page(page)
    assert unit_names(page) == [f"unit_{number:04d}" for number in range(1, 7)]
    shape = page.locator("#units img").first.evaluate(
        "one => [one.naturalWidth / one.naturalHeight, one.width / one.height]"
    )
    assert shape[0] == pytest.approx(shape[1], rel=0.05)
    for order, first in (
        ("by influence on cancer", ["unit_0002", "unit_0003", "unit_0004", "unit_0001", "unit_0005", "unit_0006"]),
        ("by AUC for cancer", ["unit_0002", "unit_0003", "unit_0004", "unit_0001", "unit_0006", "unit_0005"]),
        ("by largest activation", ["unit_0002", "unit_0003", "unit_0004", "unit_0001", "unit_0005", "unit_0006"]),
    ):
        page.get_by_label("Order").select_option(label=order)
        assert unit_names(page) == first, order
    page.get_by_role("link", name="unit_0003").click()
    expect(page.locator(".pictures img")).to_have_count(3)
    check_page(page)
    assert page.get_by_role("row", name="cancer").all_inner_texts() == ["cancer\t0.700\t1\t2"]
    for name, place in (("Next", "unit_0004"), ("Previous", "unit_0003"), ("Previous", "unit_0002")):
        page.get_by_label("Units beside this one").get_by_role("link", name=name).click()
        assert page.get_by_role("heading", level=1).inner_text() == place
        check_page(page)
    page.get_by_role("link", name="layer4").click()
    page.get_by_role("link", name="unit_0001").click()
    assert page.get_by_label("Units beside this one").get_by_role("link").all_inner_texts() == ["Next: unit_0002"]
    page.get_by_role("link", name="layer4").click()
    page.get_by_role("link", name="unit_0003").click()
    page.get_by_role("link", name="unit_0004").last.click()
    check_page(page)
    assert "near-duplicate of unit_0003" in page.locator("main").inner_text()
    page.get_by_role("link", name="layer4").click()
    page.get_by_role("link", name=f"unit_{SILENT + 1:04d}").click()
    check_page(page)
    assert "silent" in page.locator("main").inner_text()


def check_page(page: Page) -> None:
    """Check that the layout has no faults and that the notice is shown as text."""
    assert layout_faults(page) == []
    assert page.get_by_role("note").inner_text() == NOTICE
    assert page.title() != "taken"
