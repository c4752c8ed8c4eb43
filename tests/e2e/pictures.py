"""Takes the pictures of all pages: `make pictures`. Writes docs/pictures/pages and the table in docs/pages.md.

The services run over the sample data set, so the pictures show real tissue with simulated lesions. With names of pages
as arguments, such as `survey reading`, only their pictures are taken.
"""

import io
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.e2e.browser import SIZES, chromium
from tests.e2e.every_page import PAGES, Installation, ShownPage, installation, signed_in

DOCS = Path(__file__).parents[2] / "docs"
FOLDER, TABLE = DOCS / "pictures" / "pages", DOCS / "pages.md"
WIDEST, QUALITY = 800, 45
"""Pixels and quality of a stored picture: enough to see a page, and little enough to keep all in the repository."""
BEGIN, END = "<!-- made by `make pictures` -->\n", "<!-- end -->\n"


def main() -> None:
    """Take the pictures and write the table."""
    names = sys.argv[1:] or [shown.name for shown in PAGES]
    if unknown := set(names) - {shown.name for shown in PAGES}:
        raise SystemExit(f"no page is called {', '.join(sorted(unknown))}; see PAGES in tests/e2e/every_page.py")
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder, installation(Path(folder), sample=True) as found:
        take_pictures(found, names)
    write_table()


def take_pictures(found: Installation, names: Collection[str]) -> None:
    """Store a picture of each named page at each width, light; and at the greatest width, dark."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, signed_in(browser, found) as page_of:
        for shown in (one for one in PAGES if one.name in names):
            page = page_of(shown.who)
            for size, viewport in SIZES.items():
                page.set_viewport_size(viewport)
                found.open(page, shown)
                store(page, f"{shown.name}-{size}")
            page.set_viewport_size(SIZES["1280"])
            page.emulate_media(color_scheme="dark")
            found.open(page, shown)
            store(page, f"{shown.name}-dark")
            page.emulate_media(color_scheme="light")


def store(page: Page, name: str) -> None:
    """Store what the window shows as a small JPEG."""
    page.wait_for_load_state("networkidle")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    picture.save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True, progressive=True)


def write_table() -> None:
    """Write the lines of the table between the marks of the document."""
    before, _, rest = TABLE.read_text().partition(BEGIN)
    lines = ["| page | pictures |\n", "|---|---|\n", *map(line_of, PAGES)]
    TABLE.write_text(before + BEGIN + "".join(lines) + END + rest.partition(END)[2])


def line_of(shown: ShownPage) -> str:
    """The line of a page: what it shows, and links to its pictures."""
    links = [f"[{size}](pictures/pages/{shown.name}-{size}.jpg)" for size in (*SIZES, "dark")]
    return f"| {shown.shows} | {' '.join(links)} |\n"


if __name__ == "__main__":
    main()
