"""Searches a DICOMweb server for mammograms with QIDO-RS: studies, then their series, then the instances of these."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from services.common.errors import InvalidInput
from services.common.machine.reading import read_at_most
from services.training.raw.report import ImportReport
from services.training.raw.source.dicomweb.client import Blocks, DicomwebClient, Query, read_answer
from services.training.raw.source.files import SourceFiles
from services.training.raw.source.tables import text_lines

PAGE = 100
"""Results of a search that are requested at a time. A server may answer with fewer."""
LARGEST_PAGE = 1 << 26
MOST_RESULTS = 1_000_000
"""Results of one search, and instances of a source."""
LARGEST_LIST = 1 << 22
STUDIES = "studies.txt"
"""The list of studies in a folder of tables."""
JSON = "application/dicom+json"
MAMMOGRAPHY = "MG"
STUDY_UID, SERIES_UID, SOP_UID, MODALITY = "0020000D", "0020000E", "00080018", "00080060"

BAD_UID = "search result without a valid UID"
NO_STUDY = "line of the list of studies that belongs to no mammography study of the server"

_UID = re.compile(r"[0-9]{1,62}(?:\.[0-9]{1,62}){1,31}")
LONGEST_UID = 64
_ACCESSION = re.compile(r"[^*?\\,\x00-\x1f\x7f]{1,64}")
"""An accession number. Wildcards and commas would select other studies too."""


class Selection(BaseModel):
    """The studies to import: those of some days, and of a list. Without both, all mammography studies."""

    model_config = ConfigDict(frozen=True)

    since: date | None = None
    until: date | None = None
    studies_file: Path | None = None
    """The list, instead of studies.txt of the tables."""

    @property
    def query(self) -> dict[str, str]:
        """The part of a search for studies that selects them."""
        if self.since is None and self.until is None:
            return {}
        days = ("" if day is None else day.strftime("%Y%m%d") for day in (self.since, self.until))
        return {"StudyDate": "-".join(days)}

    def studies(self, tables: SourceFiles | None) -> "list[ListedStudy] | None":
        """The studies of the list; None if there is no list."""
        if self.studies_file is not None:
            try:
                return read_list(read_at_most(self.studies_file, LARGEST_LIST), str(self.studies_file))
            except OSError as error:
                raise InvalidInput(f"{self.studies_file} cannot be read: {error.strerror}") from error
        if tables is not None and STUDIES in tables.names:
            return read_list(tables.read(STUDIES, LARGEST_LIST), tables.where(STUDIES))
        return None


@dataclass(frozen=True)
class ListedStudy:
    """A line of a list of studies: a StudyInstanceUID or an accession number. `where` is its place."""

    key: str
    where: str

    @property
    def query(self) -> dict[str, str]:
        """The search for the study."""
        return {"StudyInstanceUID" if is_uid(self.key) else "AccessionNumber": self.key}


@dataclass
class Found:
    """The instances of a search, as names `<study>/<series>/<instance>.dcm`, and the report of it."""

    names: set[str] = field(default_factory=set)
    report: ImportReport = field(default_factory=ImportReport)


def read_list(content: bytes, where: str) -> list[ListedStudy]:
    """Read a list of studies, one a line: StudyInstanceUIDs (digits and dots) or accession numbers. Empty lines and
    lines that begin with # are left out. InvalidInput names a line that is neither; it is not quoted."""
    listed = []
    for key, place in text_lines(content, where):
        if key.startswith("#"):
            continue
        if not is_uid(key) and _ACCESSION.fullmatch(key) is None:
            raise InvalidInput(f"{place} is neither a StudyInstanceUID nor an accession number")
        listed.append(ListedStudy(key, place))
    return listed


def is_uid(text: object) -> bool:
    """Whether this is a DICOM UID. Only these become parts of addresses."""
    return isinstance(text, str) and len(text) <= LONGEST_UID and _UID.fullmatch(text) is not None


def search(client: DicomwebClient, selection: Selection, tables: SourceFiles | None) -> Found:
    """List the instances of all selected mammography series. Errors as `DicomwebClient.get`, and InvalidInput for
    answers that are not DICOM JSON."""
    found = Found()
    for study in _studies(client, selection, tables, found.report):
        for series in _results(client, f"studies/{study}/series", SERIES_UID, {"Modality": MAMMOGRAPHY}, found.report):
            path = f"studies/{study}/series/{series}/instances"
            for instance in _results(client, path, SOP_UID, {}, found.report):
                found.names.add(f"{study}/{series}/{instance}.dcm")
                if len(found.names) > MOST_RESULTS:
                    raise InvalidInput(f"DICOMweb server {client.name} lists more than {MOST_RESULTS} instances")
    found.report.count("instances listed by the server", len(found.names))
    return found


def _studies(
    client: DicomwebClient, selection: Selection, tables: SourceFiles | None, report: ImportReport
) -> list[str]:
    listed = selection.studies(tables)
    if selection.since is not None and selection.until is not None and selection.since > selection.until:
        raise InvalidInput(f"no study is since {selection.since} and until {selection.until}")
    query = {"ModalitiesInStudy": MAMMOGRAPHY, **selection.query}
    if listed is None:
        studies = set(_results(client, "studies", STUDY_UID, query, report))
    else:
        studies = set()
        for one in listed:
            of_line = set(_results(client, "studies", STUDY_UID, {**query, **one.query}, report))
            if not of_line:
                report.drop(NO_STUDY, one.where)
            studies |= of_line
    report.count("studies listed by the server", len(studies))
    return sorted(studies)


def _results(client: DicomwebClient, path: str, tag: str, query: Query, report: ImportReport) -> Iterator[str]:
    """Yield the UIDs in `tag` of all results of a search. Pages are requested until one is empty, or brings nothing
    new, since some servers ignore the offset."""
    seen: set[str] = set()
    offset = 0
    while page := _page(client, path, {**query, "limit": PAGE, "offset": offset}):
        offset += len(page)
        before = len(seen)
        for result in page:
            uid, modality = _value(result, tag), _value(result, MODALITY)
            if str(uid) in seen:
                continue
            seen.add(str(uid))
            if modality not in (None, MAMMOGRAPHY):
                continue
            if is_uid(uid):
                yield uid
            else:
                report.drop(BAD_UID, path.rpartition("/")[2])
        if len(seen) == before:
            return
        if offset > MOST_RESULTS:
            raise InvalidInput(f"DICOMweb server {client.name} finds more than {MOST_RESULTS} results of one search")


def _page(client: DicomwebClient, path: str, query: Query) -> list[Any]:
    def receive(_headers: httpx.Headers, blocks: Blocks) -> bytes:
        return read_answer(blocks, LARGEST_PAGE)

    content = client.get(path, JSON, receive, query)
    if not content:
        return []
    try:
        page = json.loads(content)
    except (ValueError, RecursionError):
        page = None
    if not isinstance(page, list):
        raise InvalidInput(f"DICOMweb server {client.name} answers a search with something else than DICOM JSON")
    return page


def _value(result: Any, tag: str) -> Any:
    """The first value of an attribute of a result; None if it has none."""
    try:
        return result[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        return None
