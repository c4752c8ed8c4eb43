"""Every page in a real browser, at three widths, light and dark: layout, axe, and no request to another origin."""

from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.browser import FaultRecorder, layout_faults
from tests.e2e.every_page import PAGES, SIZES, Installation, installation, signed_in
from tests.e2e.pictures import FOLDER, TABLE, line_of

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SERIOUS = """
async () => {
  for (const one of document.getAnimations()) one.finish();
  const found = await axe.run(document, { resultTypes: ['violations'] });
  const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
  return serious.flatMap((one) => one.nodes.map((node) => `${one.id} ${node.html.slice(0, 120)}`));
}
"""
"""JavaScript: what axe finds serious or critical, once the colours have changed to those of the scheme."""
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
            page.set_viewport_size(SIZES["1280"])  # type: ignore[arg-type]
            found.open(page, shown)
            page.evaluate(AXE)
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)  # type: ignore[arg-type]
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    faults += [f"{shown.name} {size} {scheme}: {fault}" for fault in faults_of(page)]
    assert faults == [], "\n".join(faults)
    assert [fault for one in recorders.values() for fault in one.faults] == []


def faults_of(page: Page) -> list[str]:
    """The faults of the layout of a page, and what axe finds serious or critical."""
    return [*page.evaluate(SERIOUS), *layout_faults(page)]


def test_every_page_has_its_pictures() -> None:
    """docs/pages.md has the line of every page, with pictures that exist; `make pictures` writes both."""
    text = TABLE.read_text()
    for shown in PAGES:
        assert line_of(shown) in text, shown.name
        assert all((FOLDER / f"{shown.name}-{kind}.jpg").is_file() for kind in (*SIZES, "dark")), shown.name
