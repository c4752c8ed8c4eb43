"""A real browser for the end-to-end tests, with checks that a person would miss: errors, failed requests, layout."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    ViewportSize,
    sync_playwright,
)

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE: ViewportSize = {"width": 1280, "height": 800}
TABLET: ViewportSize = {"width": 768, "height": 1024}
NARROW: ViewportSize = {"width": 390, "height": 844}
SIZES = {"1280": WIDE, "768": TABLET, "390": NARROW}

OVERLAPS = """
() => {
  const seen = [...document.querySelectorAll('a, button, input, textarea, summary')].filter((node) => {
    if (!node.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
    const box = node.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && !node.matches('.skip');
  });
  const found = [];
  for (const [at, one] of seen.entries()) {
    for (const other of seen.slice(at + 1)) {
      if (one.contains(other) || other.contains(one) || clipped(one, other)) continue;
      const a = one.getBoundingClientRect(), b = other.getBoundingClientRect();
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (width > 1 && height > 1) found.push(`${name(one)} and ${name(other)}`);
    }
  }
  return found;
  function scroller(node) {
    for (let up = node.parentElement; up; up = up.parentElement) {
      if (['auto', 'scroll'].includes(getComputedStyle(up).overflowY) && up !== document.body) return up;
    }
    return null;
  }
  function clipped(one, other) {
    return [[one, other], [other, one]].some(([a, b]) => {
      const box = scroller(a)?.getBoundingClientRect();
      const at = a.getBoundingClientRect();
      return box && !scroller(a).contains(b) && (at.top >= box.bottom || at.bottom <= box.top);
    });
  }
  function name(node) {
    return `${node.tagName.toLowerCase()} "${(node.textContent || node.name || '').trim().slice(0, 30)}"`;
  }
}
"""
"""JavaScript: pairs of visible controls that overlap. A control that is scrolled out of its column does not count."""

UNLOADED = """
async () => {
  const images = [...document.images].filter((image) => image.getAttribute('src') && image.checkVisibility());
  for (const image of images) image.loading = 'eager';
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  return images.filter((image) => image.naturalWidth === 0).map((image) => image.src);
}
"""
"""JavaScript: load all pictures, and return the addresses of those that fail."""


class FaultRecorder:
    """Records the faults on the pages of a context: console errors, failed requests, requests to other origins.

    `expected` are parts of addresses that the test expects to fail."""

    def __init__(self, context: BrowserContext, origin: str, expected: tuple[str, ...] = ()) -> None:
        self._origin, self._expected = origin, expected
        self.faults: list[str] = []
        context.on("console", self._console)
        context.on("weberror", lambda error: self.faults.append(f"script: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("requestfailed", self._failed)

    def _console(self, message: ConsoleMessage) -> None:
        refused = any(part in message.location.get("url", "") for part in self._expected)
        if message.type in ("error", "warning") and not refused:
            self.faults.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self._origin:
            self.faults.append(f"another origin: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not any(part in response.url for part in self._expected):
            self.faults.append(f"{response.status}: {response.url}")

    def _failed(self, request: Request) -> None:
        # The browser aborts the loading of pictures when it leaves a page; that is no fault.
        if request.failure != "net::ERR_ABORTED" and not any(part in request.url for part in self._expected):
            self.faults.append(f"{request.failure}: {request.url}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. AssertionError with the command to install it if it is missing."""
    if not Path(CHROMIUM).exists() and shutil.which("chromium") is None:
        raise AssertionError("the end-to-end tests need Chromium: apt-get install chromium (`make setup` does it)")
    path = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def outside_window(page: Page, parts: list[Locator]) -> list[str]:
    """The texts of those parts that are not wholly inside of the window, which must not be scrolled."""
    assert page.evaluate("window.scrollY") == 0 and page.viewport_size is not None
    found = []
    for part in parts:
        box = part.bounding_box()
        if box is None or box["y"] < 0 or box["y"] + box["height"] > page.viewport_size["height"]:
            found.append(part.inner_text())
    return found


def layout_faults(page: Page) -> list[str]:
    """The faults of a page's layout: it scrolls sideways, controls overlap, pictures are missing."""
    faults = [f"does not load: {src}" for src in page.evaluate(UNLOADED)]
    width, room = page.evaluate("() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    if width > room:
        faults.append(f"scrolls sideways: {width} pixels wide in {room}")
    return faults + [f"overlap: {pair}" for pair in page.evaluate(OVERLAPS)]
