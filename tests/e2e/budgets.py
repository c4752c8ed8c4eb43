"""Measures each page in a browser: script and style, the largest paint, and the slowest response to a key or click.

`make budgets` prints one JSON object. The times depend on the machine, so no test asserts them.
"""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response

from bench.machine import machine_facts
from tests.e2e.browser import chromium
from tests.e2e.every_page import PAGES, Installation, ShownPage, installation, signed_in

TARGETS = {"script_and_style_kb": 60, "lcp_ms": 1000, "inp_ms": 100}
KEYS = ("Tab", "Tab", "j", "k", "Tab")
"""Keys that are pressed on each page. The pages of items have shortcuts for some of them."""
LCP = """
() => new Promise((resolve) => {
  let last = null;
  new PerformanceObserver((list) => {
    last = list.getEntries().at(-1).startTime;
  }).observe({ type: 'largest-contentful-paint', buffered: true });
  setTimeout(() => resolve(last), 500);
})
"""
"""JavaScript: the time of the largest paint so far."""
INP = """
() => new Promise((resolve) => {
  let slowest = 0;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (one.interactionId) slowest = Math.max(slowest, one.duration);
  }).observe({ type: 'event', durationThreshold: 16, buffered: true });
  setTimeout(() => resolve(slowest), 500);
})
"""
"""JavaScript: the longest time from a key or click to the next paint; 0 if all were below 16 ms."""


def main() -> None:
    """Measure all pages and print the figures."""
    machine = machine_facts()
    with tempfile.TemporaryDirectory(prefix="budgets-") as folder, installation(Path(folder), sample=False) as found:
        pages = measure_pages(found)
    largest = {name: max(one[name] or 0 for one in pages.values()) for name in TARGETS}
    print(json.dumps({"budgets": pages, "largest": largest, "targets": TARGETS, "machine": machine}))


def measure_pages(found: Installation) -> dict[str, dict[str, Any]]:
    """The figures of each page by name. Each page is opened with an empty cache."""
    with chromium() as browser, signed_in(browser, found) as page_of:
        return {shown.name: measure(found, page_of(shown.who), shown) for shown in PAGES}


def measure(found: Installation, page: Page, shown: ShownPage) -> dict[str, Any]:
    """The figures of one page."""
    loaded: list[Response] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})

    def keep(response: Response) -> None:
        loaded.append(response)

    page.on("response", keep)
    page.goto(shown.address.format(**found.ids))
    page.wait_for_load_state("load")
    page.remove_listener("response", keep)
    code = [one for one in loaded if one.request.resource_type in ("script", "stylesheet") and one.ok]
    lcp = page.evaluate(LCP)
    for key in KEYS:
        page.keyboard.press(key)
    page.locator("body").click(position={"x": 2, "y": 2})
    return {
        "script_and_style_kb": round(sum(len(gzip.compress(one.body())) for one in code) / 1000, 1),
        "lcp_ms": round(lcp) if lcp is not None else None,
        "inp_ms": round(page.evaluate(INP)),
    }


if __name__ == "__main__":
    main()
