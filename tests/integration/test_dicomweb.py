"""Imports from a PACS: a real Orthanc, over DICOMweb."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from deploy.local.servers import Server
from services.cli.main import app
from services.common.blobs import Blobs, open_blobs
from services.common.errors import InvalidInput, NotFound
from services.imaging.dataset import Dataset
from services.imaging.dicom.header import TOMOSYNTHESIS
from services.training.names import BUCKET
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.layouts.dicom import UNMATCHED
from services.training.raw.plan import Source
from services.training.raw.report import ImportReport
from services.training.raw.source.dicomweb.search import NO_STUDY, Selection
from services.training.raw.source.dicomweb.source import DicomwebSource
from tests.fakes.raw.pacs import LABELS, store_pacs
from tests.unit.training.imports.test_workflow import Importing

RECIPE = CutRecipe(fractions=(0.5,), part_mammograms=2, splits=(0.5, 0.25, 0.25))


@dataclass(frozen=True)
class Pacs:
    """Orthanc with the files of `folder`, which lie as `<study>/<series>/<instance>.dcm`."""

    server: Server
    folder: Path
    home: Path

    def source(self, url: str = "", tables: Path | None = None, **selection: Any) -> Source:
        """The source of an import from it."""
        servers = self.home / "servers.json"
        servers.write_text(json.dumps({"lab": {"url": url or f"{self.server.url}/dicom-web"}}))
        dicomweb = DicomwebSource(
            server="lab",
            servers_file=servers,
            selection=Selection(**selection),
            pseudonym_key=None,
            home=self.home,
        )
        return Source(layout="dicom", folder=tables or self.folder, dicomweb=dicomweb)

    def imported(self, source: Source) -> tuple[Dataset, ImportReport, Blobs]:
        """Import a source into a new store."""
        blobs = open_blobs(f"folder://{self.home / 'blobs'}")
        plan = plan_import(blobs, "set", source, RECIPE, pseudonyms=source.pseudonyms(None, self.home))
        for number in range(len(plan.parts)):
            cut_part(blobs, plan, number)
        _, ref, report = assemble(blobs, plan)
        return Dataset.open(blobs, ref), report, blobs


@pytest.fixture(scope="module")
def stored(orthanc: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder, whose files are all in Orthanc."""
    with store_pacs(orthanc.url, tmp_path_factory.mktemp("pacs")) as folder:
        yield folder


@pytest.fixture
def pacs(orthanc: Server, stored: Path, tmp_path: Path) -> Pacs:
    return Pacs(orthanc, stored, tmp_path)


def test_a_pacs_gives_the_same_data_set_as_a_folder(pacs: Pacs) -> None:
    """The same patches, labels, outlines and pseudonyms, to the byte. What was listed and received is counted; other
    modalities are not listed."""
    expected, of_folder, _ = pacs.imported(Source(layout="dicom", folder=pacs.folder))
    found, report, _ = pacs.imported(pacs.source())
    assert found.manifest.dataset_id == expected.manifest.dataset_id
    assert len(found.ids("train")) > 0 and len(set(found.labels)) > 1
    counts = dict(report.counts)
    assert counts.pop("studies listed by the server") == 5
    assert counts.pop("instances listed by the server") == counts.pop("headers received from the server") == 10
    assert counts.pop("instances received from the server") == of_folder.counts["mammograms"] == 9
    assert counts.pop("bytes received from the server") > 9 * 4000
    assert counts == of_folder.counts
    assert {reason: one.count for reason, one in report.dropped.items()} == {TOMOSYNTHESIS: 1, UNMATCHED: 1}


def test_nothing_that_identifies_is_stored(pacs: Pacs) -> None:
    """Neither UIDs nor patients and accession numbers are in any object of the store, at any time of the import."""
    blobs = open_blobs(f"folder://{pacs.home / 'blobs'}")
    source = pacs.source()
    plan = plan_import(blobs, "set", source, RECIPE, pseudonyms=source.pseudonyms(None, pacs.home))
    secrets = set()
    for file in pacs.folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        secrets |= {str(dataset.get(name)) for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
        secrets |= {str(dataset.PatientID), str(dataset.get("AccessionNumber"))}
    contents = [blobs.get(BUCKET, key) for key in blobs.list(BUCKET)]
    assert len(contents) > len(plan.parts)
    for number in range(len(plan.parts)):
        cut_part(blobs, plan, number)
    assemble(blobs, plan)
    contents += [blobs.get(BUCKET, key) for key in blobs.list(BUCKET)]
    assert [one for one in secrets if any(one.encode() in content for content in contents)] == []


def test_studies_are_selected_by_date_and_list(pacs: Pacs, tmp_path: Path) -> None:
    """A list has UIDs and accession numbers; a line without a study is in the report by its place."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "labels.csv").write_text(LABELS)
    (tables / "studies.txt").write_text("# mine\n1.8.1\nACC2\n\nACC99\n1.8.3\n")
    _, report, _ = pacs.imported(pacs.source(tables=tables, until=date(2024, 1, 2)))
    assert report.counts["studies listed by the server"] == 2
    assert report.dropped[NO_STUDY].examples == ["studies.txt:5", "studies.txt:6"]
    for line in ("1.8.*", "*", "ACC?", "A" * 65, "1.8.1,1.8.2"):
        (tables / "studies.txt").write_text(f"1.8.1\n{line}\n")
        with pytest.raises(InvalidInput, match=r"studies.txt:2 is neither a StudyInstanceUID nor an accession number"):
            pacs.imported(pacs.source(tables=tables))


def test_parts_read_what_was_planned(pacs: Pacs) -> None:
    """An instance that arrives between plan and parts is not in the data set, and one that is deleted is dropped by
    number."""
    blobs = open_blobs(f"folder://{pacs.home / 'blobs'}")
    source = pacs.source()
    plan = plan_import(blobs, "set", source, RECIPE, pseudonyms=source.pseudonyms(None, pacs.home))
    victim = pacs.folder / "1.8.2/1.7.21/1.9.22.dcm"
    [found] = httpx.post(f"{pacs.server.url}/tools/lookup", content="1.9.22", timeout=30).json()
    httpx.delete(f"{pacs.server.url}/instances/{found['ID']}", timeout=30).raise_for_status()
    try:
        for number in range(len(plan.parts)):
            cut_part(blobs, plan, number)
    finally:
        httpx.post(f"{pacs.server.url}/instances", content=victim.read_bytes(), timeout=30).raise_for_status()
    _, _, report = assemble(blobs, plan)
    names = sorted(str(file.relative_to(pacs.folder)) for file in pacs.folder.rglob("*.dcm"))
    place = names.index(str(victim.relative_to(pacs.folder)))
    assert report.dropped["the server answers with status 404"].examples == [f"file {place + 1}"]
    assert report.counts["mammograms"] == 8


def test_the_command_imports_from_a_pacs(pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives dataset import DIR --layout dicom --dicomweb NAME`, with processes of its own."""
    from typer.testing import CliRunner

    pacs.source()
    monkeypatch.setenv("PRIMITIVES_HOME", str(pacs.home / "home"))
    monkeypatch.setenv("PRIMITIVES_TRAINING_DICOMWEB_FILE", str(pacs.home / "servers.json"))
    command = ["dataset", "import", str(pacs.folder), "--layout", "dicom", "--dicomweb", "lab", "--cut"]
    options = ["fractions=0.5", "--workers", "1", "--since", "2024-01-01", "--until", "2024-01-03"]
    done = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
    assert json.loads(done.stdout)["report"]["counts"]["studies listed by the server"] == 3


def test_unknown_servers_are_refused(pacs: Pacs) -> None:
    """The message names those that exist."""
    source = pacs.source()
    assert source.dicomweb is not None
    other = source.model_copy(update={"dicomweb": source.dicomweb.model_copy(update={"server": "other"})})
    with pytest.raises(NotFound, match=r"no DICOMweb server 'other'; .*servers.json has lab"):
        pacs.imported(other)


def test_the_service_imports_from_a_pacs(pacs: Pacs, tmp_path: Path) -> None:
    """The same data set as the command makes, over HTTP; the list of instances is retained until the import ends."""
    pacs.source()
    importing = Importing(tmp_path / "service")
    importing.raw_imports.home = pacs.home
    importing.raw_imports.dicomweb_file = pacs.home / "servers.json"
    (importing.folder / "labels.csv").write_text(LABELS)
    assert importing.web.get("/v1/import-layouts").json()["dicomweb"] == ["lab"]
    recipe = RECIPE.model_dump(mode="json")
    body = {"layout": "dicom", "folder": "raw", "dicomweb": "lab", "name": "set", "recipe": recipe}
    days = {"since": "2024-01-01", "until": "2024-12-31"}
    started = importing.web.post("/v1/imports", json=body | days)
    assert started.status_code == 202, started.text
    [command] = importing.sent()
    importing.perform(command)
    assert any(one.key.endswith("files.sealed") for one in importing.collected().objects)
    for command in importing.sent():
        importing.perform(command)
    importing.perform_all()
    view = importing.web.get(f"/v1/imports/{started.json()['import_id']}").json()
    assert (view["state"], view["error"], view["dicomweb"], view["since"]) == ("completed", "", "lab", "2024-01-01")
    assert view["report"]["counts"]["instances received from the server"] == 9
    found, _, _ = pacs.imported(pacs.source())
    assert view["dataset_id"] == found.manifest.dataset_id
    assert not any(one.key.endswith("files.sealed") for one in importing.collected().objects)
