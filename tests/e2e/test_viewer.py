"""The viewer of a reading and of a survey in a real browser: grey levels of the source, zoom, movement, and no other
data."""

import gzip
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

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

OUTLINE = """(canvas) => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const [rows, columns] = [[], []];
  for (let at = 0; at < width * height; at += 1) {
    const [red, green, blue] = data.subarray(4 * at, 4 * at + 3);
    if (red - blue > 100 && green - blue > 60) rows.push(Math.floor(at / width)) && columns.push(at % width);
  }
  const ends = (all) => [Math.min(...all), Math.max(...all)];
  return [...ends(rows), ...ends(columns), height, width];
}"""
"""JavaScript: the first and last row and column of what is yellow on a canvas, and the size of the canvas."""


class Place(NamedTuple):
    """A page with the viewer: how a reader comes to it, and the addresses of its own that it may request."""

    open: Callable[[Page, Site, str], None]
    own: str
    allowed: str


def open_survey(page: Page, site: Site, reader: str) -> None:
    """Sign in, and open the first unit of a study."""
    sign_in(page, reader)
    page.goto(f"/studies/{site.study_id}/layers/block4/units/unit_0001?list=all")


PARTS = r"(\d+\.(jpg|grey)(\?region=[\d-]+)?)"
IN_READING = Place(begin, "/readings/", rf"/readings/reading-[0-9a-f]+(/(pictures|patches|mammograms)/{PARTS})?")
IN_SURVEY = Place(
    open_survey,
    "/study-",
    rf"/(studies/[\w-]+/layers/block4/units/unit_0001\?list=all|pictures/[\w-]+/block4/unit_0001/{PARTS}"
    rf"|mammograms/[\w-]+/{PARTS})",
)


@pytest.fixture(params=[IN_READING, IN_SURVEY], ids=["reading", "survey"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


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


def test_a_window_shows_levels_that_eight_bits_cannot(site: Site, new_page: NewPage, place: Place) -> None:
    """The grey on the screen is DICOM's linear window of the 16-bit value: 20 of 65,536 levels apart is 51 of 255."""
    page = new_page()
    place.open(page, site, "Deep")
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


def test_eight_bits_are_shown_as_they_are_stored(site: Site, new_page: NewPage, place: Place) -> None:
    """Without a choice of the reader, the grey on the screen of an 8-bit source is its value."""
    page = new_page()
    place.open(page, site, "Flat")
    focus_on(page, FLAT)
    page.locator("#patch-view").focus()
    for _ in range(16):
        page.keyboard.press("+")
    value = int(source_patch(FLAT)[SOURCE_SIDE // 2, SOURCE_SIDE // 2])
    assert grey_of(page) == value


def test_zoom_and_window_stay_from_patch_to_patch(site: Site, new_page: NewPage, place: Place) -> None:
    """By keyboard alone: zoom, move, brighten; the next patch has the same zoom and window; 0 resets all."""
    page = new_page()
    place.open(page, site, "Carry")
    focus_on(page, DEEP)
    for key in ("+", "+", "Shift+ArrowRight", "Shift+ArrowDown", "b", "c", "m", "+"):
        page.keyboard.press(key)
    expect(page.locator(".picture.current")).to_have_attribute("data-rank", str(DEEP))
    zoom, text = zoom_of(page), page.locator("#window-text").inner_text()
    assert zoom > 1.5 and zoom_of(page, "mammogram") == 1.25
    focus_on(page, DEEP + 2)
    assert zoom_of(page) == zoom and page.locator("#window-text").inner_text() == text
    page.keyboard.press("0")
    assert zoom_of(page) == zoom_of(page, "mammogram") == 1
    expect(page.locator("#window-text")).not_to_have_text(text)


def test_wheel_drag_and_double_click(site: Site, new_page: NewPage, place: Place) -> None:
    """The wheel zooms at the pointer: what is there stays there. A drag moves it, a double click resets."""
    page = new_page()
    place.open(page, site, "Mouse")
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


def test_the_zoomed_mammogram_is_read_from_the_source(site: Site, new_page: NewPage, place: Place) -> None:
    """A mammogram beyond its preview is fetched in parts, in 16 bits if it has them; the page of a reading requests no
    address that names its unit."""
    page = new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url.removeprefix(site.origin)))
    place.open(page, site, "Parts")
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
    top, left, *_ = pixels(deep, "data-box")
    assert row <= top < row + height and column <= left < column + width
    ours = [url for url in requested if place.own in url]
    assert len(ours) > 10
    assert [url for url in ours if re.fullmatch(place.allowed, url) is None] == []


def pixels(picture: Locator, attribute: str) -> list[int]:
    """The numbers in an attribute of a picture."""
    return [int(part) for part in str(picture.get_attribute(attribute)).split()]


def test_the_patch_is_outlined_in_its_mammogram(site: Site, new_page: NewPage, place: Place) -> None:
    """The whole mammogram is in the middle of its canvas, with the box around the rows and columns of the patch."""
    page = new_page()
    place.open(page, site, "Outline")
    focus_on(page, DEEP)
    picture = page.locator(f".picture[data-rank='{DEEP}']")
    page.wait_for_load_state("networkidle")
    top, bottom, left, right, canvas_rows, canvas_columns = page.locator("#mammogram-view").evaluate(OUTLINE)
    (rows, columns), (row, column, height, width) = pixels(picture, "data-size"), pixels(picture, "data-box")
    scale = min(canvas_rows / rows, canvas_columns / columns)
    first_row, first_column = (canvas_rows - rows * scale) / 2, (canvas_columns - columns * scale) / 2
    expected = (row, row + height, column, column + width)
    begins = (first_row, first_row, first_column, first_column)
    found = [(one - begin) / scale for one, begin in zip((top, bottom, left, right), begins, strict=True)]
    assert found == pytest.approx(expected, abs=2.5 / scale)


def test_two_fingers_zoom_on_a_telephone(site: Site, new_page: NewPage, place: Place) -> None:
    """On a narrow screen a tap enlarges the patch, and moving two fingers apart zooms it."""
    page = new_page(viewport=NARROW, has_touch=True)
    place.open(page, site, "Touch")
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
