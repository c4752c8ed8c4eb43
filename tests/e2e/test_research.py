"""What researchers do in the browser: from a folder of patches to an open study, without a command."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.training.raw.importing import CRASHED
from tests.e2e.browser import NARROW, WIDE, layout_faults
from tests.e2e.conftest import Site, sign_in
from tests.fakes.ddsm import make_ddsm
from tests.fakes.raw.folder_layout import drawn_files
from tests.integration.embedded import Embedded, embedded
from tests.integration.test_plan import COUNTS

NewPage = Callable[..., Page]
LIMIT_MS = 180_000.0
NAME = "Baseline <one> & only"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The four services, with an import folder that has one data set, and one folder of raw mammograms."""
    imports = tmp_path_factory.mktemp("imports")
    make_ddsm(imports / "masses", COUNTS)
    (imports / "raw").mkdir()
    for name, content in drawn_files(6, deadly=(2,)).items():
        (imports / "raw" / name).write_bytes(content)
    # Every Python process of the services imports the module that registers the layout of the tests.
    startup = tmp_path_factory.mktemp("startup")
    (startup / "sitecustomize.py").write_text("import tests.fakes.raw.folder_layout\n")
    paths = [str(startup), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    with embedded(
        tmp_path_factory.mktemp("home"),
        PRIMITIVES_TRAINING_IMPORT_FOLDER=str(imports),
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def site(home: Embedded) -> Site:
    """The pages of all four services, without a study."""
    return Site(home.services.annotation, "", "")


def check_layout(page: Page) -> None:
    """Nothing overlaps or scrolls sideways, on a wide and on a narrow page."""
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        assert layout_faults(page) == []


def test_from_a_folder_to_a_study(site: Site, new_page: NewPage) -> None:
    """A data set is imported, looked at and trained on; a plan from the run's checkpoint opens a study. The pages
    follow the work without being reloaded by hand."""
    page = new_page(expected=("/runs",))  # a form with a mistake is answered with 422
    sign_in(page, "Researcher")
    import_folder(page)
    check_patches(page)
    train(page)
    plan(page)
    open_second_study(page)


def test_from_raw_mammograms_to_a_data_set(site: Site, new_page: NewPage) -> None:
    """The page follows the import to its report, which names the file that kills the decoder; the data set has its
    card."""
    page = new_page()
    sign_in(page, "Researcher")
    page.goto("/datasets")
    check_layout(page)
    page.get_by_label("Mammograms in").select_option("folder raw")
    page.get_by_label("Layout").select_option("png-folder")
    page.get_by_label("Label patches as").select_option("two")
    page.get_by_role("button", name="Import the mammograms").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Import of raw")
    expect(page.get_by_role("row", name=CRASHED)).to_contain_text("02.png", timeout=LIMIT_MS)
    check_layout(page)
    page.get_by_role("link", name="See the data set").click()
    expect(page.get_by_role("heading", name="Data card")).to_be_visible()
    expect(page.get_by_role("region", name="Splits")).to_contain_text("Patches: cancer")
    check_layout(page)


def import_folder(page: Page) -> None:
    """Import the folder and wait until its page leads to the data set."""
    page.get_by_role("link", name="Data sets", exact=True).click()
    check_layout(page)
    page.get_by_label("Folder").select_option("masses")
    page.get_by_label("Classes").select_option("3")
    page.get_by_role("button", name="Import the folder").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Import of masses")
    page.get_by_role("link", name="See the data set").click(timeout=LIMIT_MS)


def check_patches(page: Page) -> None:
    """The balance has the patches of the lists, and a number of it leads to these patches."""
    expect(page.get_by_role("heading", level=1)).to_contain_text("masses")
    check_layout(page)
    expect(page.locator(".balance tbody tr")).to_have_count(len(COUNTS))
    first = page.locator(".balance td a").first
    number = re.match(r"\d+", first.inner_text())
    assert number is not None
    first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Patches {number[0]}")
    picture = page.locator(".gallery img").first
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0
    check_layout(page)
    page.get_by_role("navigation", name="Where you are").get_by_role("link", name="masses").click()


def train(page: Page) -> None:
    """Start a run with a name, see it in the list while it trains, pause it, resume it, and wait until it has ended."""
    page.get_by_role("link", name="New run").click()
    check_layout(page)
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_label("Architecture").fill("resnet9000")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("alert")).to_contain_text("'resnet9000' is not known")
    expect(page.get_by_label("Name", exact=True)).to_have_value(NAME)
    page.get_by_label("Architecture").fill("test_resnet")
    page.get_by_label("Weights").select_option("none")
    page.get_by_label("Image size").fill("64")
    page.get_by_label("Epochs", exact=True).fill("40")
    page.get_by_label("Batch size").fill("4")
    page.get_by_role("button", name="Start the run").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(NAME)
    run_page = page.url
    page.get_by_role("button", name="Pause the run").click()
    expect(page.locator("#state")).to_have_text("paused")
    check_layout(page)
    page.get_by_role("link", name="Runs", exact=True).click()
    row = page.get_by_role("row", name=re.compile("Baseline"))
    expect(row).to_contain_text("paused")
    other = page.context.new_page()
    other.goto(run_page)
    other.get_by_role("button", name="Resume the run").click()
    expect(row.locator(".badge")).to_have_text("completed", timeout=LIMIT_MS)
    expect(row).to_contain_text("40 of 40")
    expect(other.locator("#state")).to_have_text("completed", timeout=LIMIT_MS)
    expect(other.get_by_role("button", name=re.compile("the run"))).to_have_count(0)
    other.close()
    check_layout(page)
    page.goto(run_page)
    page.get_by_label("Name of the run").fill("Second name")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Second name")


def plan(page: Page) -> None:
    """Start a plan from the best checkpoint, and follow its stages until the study is open."""
    page.get_by_role("link", name="Start a plan from best").click()
    check_layout(page)
    expect(page.get_by_label("Take a completed run")).to_be_checked()
    page.get_by_label("Layers").fill("layer4")
    page.get_by_label("Top k").fill("4")
    page.get_by_label("Title").fill("Deep layers")
    page.get_by_role("button", name="Start the plan").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Deep layers")
    expect(page.locator("#plan-state")).to_have_text("completed", timeout=LIMIT_MS)
    expect(page.locator(".stages .badge")).to_have_text(["completed"] * 3)
    check_layout(page)
    page.get_by_role("link", name="Protocol").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Deep layers")
    page.get_by_label("Title", exact=True).fill("Deepest layers")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Deepest layers")
    check_layout(page)


def open_second_study(page: Page) -> None:
    """Open another study of the same rendering, whose protocol page follows."""
    page.get_by_role("link", name="Home", exact=True).first.click()
    page.get_by_role("link", name="New study").click()
    check_layout(page)
    page.get_by_label("Title").fill("Second reading")
    page.get_by_role("button", name="Open the study").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Second reading")
    page.goto("/")
    expect(page.get_by_role("heading", name="Second reading")).to_be_visible()
