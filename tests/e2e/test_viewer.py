"""The viewer of a reading in a real browser: grey levels of the source, zoom, movement, and no other data."""

import gzip
import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from services.annotation.pages.frame import STATIC
from tests.e2e.browser import NARROW
from tests.e2e.conftest import Site, sign_in
from tests.e2e.test_journey import BUDGET_BYTES
from tests.e2e.test_reading import begin, open_protocol
from tests.fakes.rendering import SOURCE_SIDE, source_patch

NewPage = Callable[..., Page]
DEEP, FLAT = 2, 1
"""Numbers of patches of a unit: one with 16 bits, one with 8. Both are ids in the fake data set."""
GREY = """(canvas, part) => {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return context.getImageData(canvas.width * part + 1, canvas.height * part + 1, 1, 1).data[0];
}"""


def focus_on(page: Page, number: int) -> None:
    """Make a patch the current one, and wait until the viewer shows it."""
    page.locator(f".picture[data-rank='{number}']").focus()
    expect(page.locator("#window-text")).to_contain_text("16 bits" if number % 2 == 0 else "8 bits")


def slide(page: Page, level: int, window: int) -> None:
    """Choose a window with the sliders."""
    page.locator("#window").fill(str(window))
    page.locator("#level").fill(str(level))
    expect(page.locator("#window-text")).to_contain_text(f"{level} / {window}")


def grey_of(page: Page, part: float = 0.5) -> int:
    """The grey on the screen in the middle of the patch, or at another part of its width and height."""
    return int(page.locator("#patch-view").evaluate(GREY, part))


def zoom_of(page: Page, view: str = "patch") -> float:
    """How far a view is zoomed; 1 shows the whole picture."""
    return float(page.locator(f"#{view}-view").get_attribute("data-zoom") or 0)


def test_a_window_shows_levels_that_eight_bits_cannot(site: Site, new_page: NewPage) -> None:
    """The grey on the screen is DICOM's linear window of the 16-bit value: 20 of 65,536 levels apart is 51 of 255."""
    page = new_page()
    begin(page, site, "Deep")
    focus_on(page, DEEP)
    slide(page, 7000, 100)
    for _ in range(16):
        page.keyboard.press("+")  # the slider has the focus, and keys of sliders are their own
    page.locator("#patch-view").focus()
    for _ in range(16):
        page.keyboard.press("+")
    assert zoom_of(page) > 20
    value = int(source_patch(DEEP)[SOURCE_SIDE // 2, SOURCE_SIDE // 2])
    expected = ((value - 6999.5) / 99 + 0.5) * 255
    assert abs(grey_of(page) - expected) <= 1
    slide(page, 7020, 100)
    darker = ((value - 7019.5) / 99 + 0.5) * 255
    assert abs(grey_of(page) - darker) <= 1


def test_eight_bits_are_shown_as_they_are_stored(site: Site, new_page: NewPage) -> None:
    """Without a choice of the reader, the grey on the screen of an 8-bit source is its value."""
    page = new_page()
    begin(page, site, "Flat")
    focus_on(page, FLAT)
    page.locator("#patch-view").focus()
    for _ in range(16):
        page.keyboard.press("+")
    value = int(source_patch(FLAT)[SOURCE_SIDE // 2, SOURCE_SIDE // 2])
    assert grey_of(page) == value


def test_zoom_and_window_stay_from_patch_to_patch(site: Site, new_page: NewPage) -> None:
    """By keyboard alone: zoom, move, brighten; the next patch has the same zoom and window; 0 resets all."""
    page = new_page()
    begin(page, site, "Carry")
    focus_on(page, DEEP)
    for key in ("+", "+", "Shift+ArrowRight", "b", "c", "m", "+"):
        page.keyboard.press(key)
    zoom, text = zoom_of(page), page.locator("#window-text").inner_text()
    assert zoom > 1.5 and zoom_of(page, "mammogram") == 1.25
    focus_on(page, DEEP + 2)
    assert zoom_of(page) == zoom and page.locator("#window-text").inner_text() == text
    page.keyboard.press("0")
    assert zoom_of(page) == zoom_of(page, "mammogram") == 1
    expect(page.locator("#window-text")).not_to_have_text(text)


def test_wheel_drag_and_double_click(site: Site, new_page: NewPage) -> None:
    """The wheel zooms at the pointer: what is there stays there. A drag moves it, a double click resets."""
    page = new_page()
    begin(page, site, "Mouse")
    focus_on(page, FLAT)
    canvas = page.locator("#patch-view")
    box = canvas.bounding_box()
    assert box is not None
    before, middle = grey_of(page, 0.25), grey_of(page)
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    for _ in range(6):
        page.mouse.wheel(0, -100)
    page.wait_for_function("Number(document.querySelector('#patch-view').dataset.zoom) > 3")
    assert abs(grey_of(page, 0.25) - before) <= 2 and grey_of(page) < middle
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert abs(grey_of(page) - before) <= 2
    canvas.dblclick()
    assert zoom_of(page) == 1


def test_the_zoomed_mammogram_is_read_from_the_source(site: Site, new_page: NewPage) -> None:
    """A mammogram beyond its preview is fetched in parts, in 16 bits if it has them; no address names the unit."""
    page = new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url.removeprefix(site.origin)))
    begin(page, site, "Parts")
    deep = page.locator(".picture[data-deep]").first
    deep.focus()
    expect(page.locator("figcaption")).to_contain_text("MLO")
    page.keyboard.press("m")
    with page.expect_request(lambda request: "region=" in request.url) as found:
        for _ in range(9):
            page.keyboard.press("+")
    response = found.value.response()
    assert response is not None and response.headers["x-bits"] == "16"
    row, column, height, width = (int(part) for part in found.value.url.partition("region=")[2].split("-"))
    rows, columns = (int(part) for part in str(deep.get_attribute("data-size")).split())
    top, left, *_ = (float(part) / 100 for part in str(deep.get_attribute("data-box")).split())
    assert row <= top * rows < row + height and column <= left * columns < column + width
    ours = [url for url in requested if "/readings/" in url]
    allowed = r"/readings/reading-[0-9a-f]+(/(pictures|patches|mammograms)/\d+\.(jpg|grey)(\?region=[\d-]+)?)?"
    assert [url for url in ours if re.fullmatch(allowed, url) is None] == []


def test_two_fingers_zoom_on_a_telephone(site: Site, new_page: NewPage) -> None:
    """On a narrow screen a tap enlarges the patch, and moving two fingers apart zooms it."""
    page = new_page(viewport=NARROW, has_touch=True)
    begin(page, site, "Touch")
    page.locator(".picture").first.tap()
    expect(page.locator("#enlarged")).to_be_visible()
    expect(page.locator("#window-text")).to_contain_text("8 bits")
    box = page.locator("#patch-view").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, apart: float) -> None:
        points = [{"x": middle[0] - apart, "y": middle[1], "id": 1}, {"x": middle[0] + apart, "y": middle[1], "id": 2}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

    touch("touchStart", 20)
    for apart in (40, 60, 80):
        touch("touchMove", apart)
    touch("touchEnd", 0)
    assert 3.5 < zoom_of(page) < 4.5


def test_the_page_of_a_reading_is_light(site: Site, new_page: NewPage) -> None:
    """The gzipped scripts and styles of the page stay within the budget, and come from this service alone."""
    page = new_page()
    open_protocol(site, ["Light"])
    sign_in(page, "Light")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.get_by_role("link", name="Begin").click()
    page.wait_for_load_state("networkidle")
    names = {re.sub(r".*/static/\w+/", "", url) for url in requested if re.search(r"\.(js|css)$", url)}
    assert {"viewer.js", "view.js", "grey.js", "viewer_keys.js", "reading.css"} <= names
    size = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in names)
    print(f"scripts and styles of a reading: {size} bytes with gzip")
    assert size <= BUDGET_BYTES
