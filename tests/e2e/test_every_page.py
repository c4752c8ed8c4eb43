"""Every page in a real browser, at three widths, light and dark: layout, axe, and no request to another origin."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.accessibility import faults_of
from tests.e2e.browser import SIZES, FaultRecorder
from tests.e2e.every_page import PAGES, Installation, installation, signed_in
from tests.e2e.pictures import FOLDER, TABLE, line_of

EXPECTED = ("/nowhere",)


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


def test_every_page_has_its_pictures() -> None:
    """docs/pages.md has the line of every page, with pictures that exist; `make pictures` writes both."""
    text = TABLE.read_text()
    for shown in PAGES:
        assert line_of(shown) in text, shown.name
        assert all((FOLDER / f"{shown.name}-{kind}.jpg").is_file() for kind in (*SIZES, "dark")), shown.name
