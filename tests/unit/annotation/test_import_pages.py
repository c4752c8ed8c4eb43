"""The pages of imports of raw mammograms, over a training service that answers."""

import html
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.training.raw.cutting.prepare import UNREADABLE
from tests.fakes.raw.folder_layout import HIDDEN, FolderLayout
from tests.fakes.serving import serving_http
from tests.unit.annotation.test_research_pages import HOSTILE, Research
from tests.unit.training.imports.test_workflow import Importing

FIELDS = {"layout": "png-folder", "source": "folder raw", "name": "Lab set", "classes": "two", "kinds": "mass"}


@pytest.fixture
def research(tmp_path: Path) -> Iterator[Research[Importing]]:
    importing = Importing(tmp_path / "training")
    with serving_http(importing.app) as url:
        yield Research(tmp_path, url, importing)


def test_raw_mammograms_are_imported_from_the_page(research: Research[Importing]) -> None:
    """The form offers the layouts, and the import gets the options of the form. Its page follows it, and in the end has
    the report and leads to the data set, which has the card and the report too."""
    page = research.browser.get("/datasets").text
    assert FolderLayout.title in page and 'value="png-folder"' in page
    started = research.send("/datasets", "/datasets", **FIELDS, malignant_only="yes", assessment_least="4")
    path = str(started.headers["location"])
    [found] = research.training.raw_imports.all().imports
    assert (started.status_code, path) == (303, f"/imports/{found.import_id}")
    chosen = ("classes", "kinds", "malignant_only", "assessment_least")
    assert [found.recipe[name] for name in chosen] == ["two", "mass", True, 4]
    assert "Cancel" in research.browser.get(path).text
    research.training.perform_all()
    page = research.browser.get(path).text
    assert "See the data set" in page and "2 of 2 cut" in page
    assert HIDDEN in page and "line 1" in page
    view = research.training.raw_imports.get(found.import_id)
    page = research.browser.get(f"/datasets/{view.dataset_id}").text
    for text in ("Data card", FolderLayout.title, "no-weights-release", "nobody", "breast, pathology 5", HIDDEN):
        assert text in page
    assert "Lab set" in research.browser.get("/datasets").text


def test_a_bucket_and_a_server_are_sources_too(research: Research[Importing], tmp_path: Path) -> None:
    """The form offers what the operator allows. A bucket has a folder; a server has days, and a folder of labels."""
    servers = tmp_path / "servers.json"
    servers.write_text('{"lab": {"url": "http://127.0.0.1:9/dicom-web"}}')
    research.training.raw_imports.dicomweb_file = servers
    page = research.browser.get("/datasets").text
    assert 'value="bucket raw"' in page and 'value="dicomweb lab"' in page
    in_bucket = FIELDS | {"source": "bucket raw", "prefix": "/lab/2024"}
    path = str(research.send("/datasets", "/datasets", **in_bucket).headers["location"])
    research.training.perform_all()
    page = research.browser.get(path).text
    assert "bucket raw, lab/2024/" in page and "See the data set" in page
    of_server = FIELDS | {"layout": "dicom", "source": "dicomweb lab", "since": "2024-01-01", "labels": "raw"}
    assert research.send("/datasets", "/datasets", **of_server).status_code == 303
    started = research.training.raw_imports.all().imports[0]
    assert (started.dicomweb, str(started.since), started.until, started.folder) == ("lab", "2024-01-01", None, "raw")


def test_a_report_is_escaped(research: Research[Importing]) -> None:
    """Names of files come from the source."""
    (research.training.folder / f"{HOSTILE.replace('/', '')}.png").write_bytes(b"no image")
    path = str(research.send("/datasets", "/datasets", **FIELDS).headers["location"])
    research.training.perform_all()
    page = research.browser.get(path).text
    assert UNREADABLE in page and "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_an_import_is_controlled(research: Research[Importing]) -> None:
    """The buttons pause, resume and cancel; a state that does not allow it is said on the page."""
    path = str(research.send("/datasets", "/datasets", **FIELDS).headers["location"])
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert research.send(f"{path}/{verb}", path).status_code == 303
        assert research.training.raw_imports.all().imports[0].state == state
    refused = research.send(f"{path}/resume", path)
    assert refused.status_code == 409 and "is cancelled" in refused.text


MISTAKES = (
    ({"source": "folder ../raw"}, "folder"),
    ({"source": "folder absent"}, "no folder 'absent'"),
    ({"source": "raw"}, "expected folder, bucket, dicomweb and a name"),
    ({"source": "bucket secrets"}, "PRIMITIVES_TRAINING_IMPORT_BUCKETS does not list it"),
    ({"source": "bucket raw", "since": "2024-01-01"}, "since and until"),
    ({"source": "folder raw", "labels": "raw"}, "its own table of labels"),
    ({"source": "folder raw", "prefix": "lab"}, "a prefix belongs to a bucket"),
    ({"layout": "nothing"}, "no layout 'nothing'"),
    ({"classes": "seven"}, "recipe.classes"),
    ({"assessment_least": "9"}, "assessment_least"),
    ({"name": "x" * 121}, "name"),
)


def test_a_mistake_is_shown(research: Research[Importing]) -> None:
    """The page has the message of the service, and nothing starts."""
    for changes, message in MISTAKES:
        refused = research.send("/datasets", "/datasets", **FIELDS | changes)
        assert refused.status_code in (403, 404, 422) and message in html.unescape(refused.text), changes
    assert research.training.raw_imports.all().imports == []


def test_data_sets_of_patches_have_no_card(research: Research[Importing]) -> None:
    """Their pages say nothing of one."""
    page = research.browser.get(f"/datasets/{research.training.dataset_id}")
    assert page.status_code == 200 and "Data card" not in page.text
