"""What is wrong with a page in a real browser, at three widths, light and dark: its layout, and what axe finds."""

from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Page

from tests.e2e.browser import SIZES, WIDE, layout_faults

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SERIOUS = """
async (rules) => {
  for (const one of document.getAnimations()) one.finish();
  const only = rules.length ? { runOnly: { type: 'rule', values: rules } } : {};
  const found = await axe.run(document, { resultTypes: ['violations'], ...only });
  const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
  return serious.flatMap((one) => one.nodes.map((node) => `${one.id} ${node.html.slice(0, 120)}`));
}
"""
"""JavaScript: what axe finds serious or critical, once the colours have changed to those of the scheme."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that depend on colours. In the dark scheme everything else is as in the light one."""


def faults_of(page: Page, name: str) -> list[str]:
    """The faults of a page's layout, and what axe finds serious or critical. The page is wide and light afterwards."""
    page.wait_for_load_state("load")
    page.evaluate(AXE)
    faults = []
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        found = [*page.evaluate(SERIOUS, []), *layout_faults(page)]
        page.emulate_media(color_scheme="dark")
        found += [f"dark: {fault}" for fault in page.evaluate(SERIOUS, OF_COLOURS)]
        page.emulate_media(color_scheme="light")
        faults += [f"{name} {size}: {fault}" for fault in found]
    page.set_viewport_size(WIDE)
    return faults
