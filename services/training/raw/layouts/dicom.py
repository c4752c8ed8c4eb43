"""Any folder of DICOM mammograms, with an optional table of labels: labels.csv in its root.

A row of the table names its images by `file`, by `sop_uid`, or by `patient` with `side` and `view` where it needs them.
Patients, exams and images become pseudonyms, and the report names files by number, since names of files may identify.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from services.common.errors import InvalidInput, NotFound
from services.imaging.dicom.file import decode_dicom
from services.imaging.dicom.header import DicomHeader, NotAMammogram
from services.imaging.licence import UNSTATED, Licence
from services.imaging.pixels import DICOM_MARK, Pixels
from services.training.raw.case import LabelUnit, RawMammogram
from services.training.raw.label_rows import RowLabels, combined, inside, read_labels
from services.training.raw.layout import Layout
from services.training.raw.report import ImportReport
from services.training.raw.source import fields
from services.training.raw.source.delivery import Undelivered
from services.training.raw.source.dicom_headers import file_header
from services.training.raw.source.files import SourceFiles, place_of
from services.training.raw.source.tables import Row, csv_rows

TABLE = "labels.csv"

NOT_DICOM = "file that is not DICOM"
DAMAGED = "DICOM file whose header is damaged or impossible"
SECONDARY_CAPTURE = "secondary capture, such as a picture of a screen"
DUPLICATE = "image that occurs twice (the same SOPInstanceUID)"
NO_PATIENT = "DICOM file with neither PatientID nor StudyInstanceUID"
UNKNOWN_PATIENT = "no PatientID: each exam counts as a patient of its own"
NO_SIDE = "no side found"
NO_VIEW = "no view found"
NO_KEY = "row of the table names neither file, sop_uid nor patient"
BREAST_WITHOUT_SIDE = "row labels a breast and has no side"
UNMATCHED = "row of the table that belongs to no image"


@dataclass
class _Entry:
    """A row of the table, and whether an image has used it."""

    side: str
    view: str
    labels: RowLabels
    where: str
    used: bool = False

    def fits(self, header: DicomHeader) -> bool:
        """Whether the row speaks of an image of its patient."""
        return self.side in ("", header.side) and self.view in ("", header.view)


@dataclass
class _Table:
    """The rows by what they name their images with."""

    by_file: dict[str, list[_Entry]] = field(default_factory=lambda: defaultdict(list))
    by_uid: dict[str, list[_Entry]] = field(default_factory=lambda: defaultdict(list))
    by_patient: dict[str, list[_Entry]] = field(default_factory=lambda: defaultdict(list))

    def rows_of(self, name: str, header: DicomHeader) -> list[RowLabels]:
        """What the table says of an image."""
        found = [*self.by_file.get(name, ()), *self.by_uid.get(header.sop_uid, ())]
        found += [entry for entry in self.by_patient.get(header.patient_id, ()) if entry.fits(header)]
        for entry in found:
            entry.used = True
        return [entry.labels for entry in found]

    def unused(self) -> list[str]:
        """The places of rows that no image has used."""
        entries = (
            entry for rows in (self.by_file, self.by_uid, self.by_patient) for one in rows.values() for entry in one
        )
        return [entry.where for entry in entries if not entry.used]


class PlainDicom(Layout):
    """A folder of DICOM files."""

    name: ClassVar[str] = "dicom"
    title: ClassVar[str] = "DICOM mammograms"
    licence: ClassVar[Licence] = UNSTATED
    public_identifiers: ClassVar[bool] = False

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the mammograms in the order of their files' names."""
        table = _read_table(files, report)
        seen: set[str] = set()
        for name in files.names:
            place = place_of(files, name)
            header = _header(files, name, place, report) if name != TABLE else None
            if header is None:
                continue
            if header.sop_uid and header.sop_uid in seen:
                report.drop(DUPLICATE, place)
                continue
            seen.add(header.sop_uid)
            yield _mammogram(name, header, table, place, report)
        for where in table.unused():
            report.drop(UNMATCHED, where)

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Decode a mammogram."""
        place = place_of(files, mammogram.file)
        try:
            content = files.read(mammogram.file)
        except Undelivered:
            raise  # its message names nothing of the file
        except (InvalidInput, NotFound):
            raise InvalidInput(f"{place} cannot be read") from None  # the message names the file
        return decode_dicom(content, place)


def _header(files: SourceFiles, name: str, place: str, report: ImportReport) -> DicomHeader | None:
    """The header of a mammogram. Other files are reported."""
    try:
        if files.head(name, DICOM_MARK.stop)[DICOM_MARK] != b"DICM":
            report.drop(NOT_DICOM, place)
            return None
        header = file_header(files, name, place)
    except NotAMammogram as error:
        report.drop(error.reason, place)
    except Undelivered as error:
        report.drop(error.reason, str(error))
    except (InvalidInput, NotFound) as error:
        report.drop(DAMAGED, str(error) if str(error).startswith(place) else place)
    else:
        if header.secondary_capture:
            report.drop(SECONDARY_CAPTURE, place)
        elif not (header.patient_id or header.study_uid):
            report.drop(NO_PATIENT, place)
        else:
            return header
    return None


def _mammogram(name: str, header: DicomHeader, table: _Table, place: str, report: ImportReport) -> RawMammogram:
    doubts = (
        (UNKNOWN_PATIENT, not header.patient_id),
        (NO_SIDE, not header.side),
        (NO_VIEW, not header.view),
        *((note, True) for note in header.position_notes),
    )
    for reason, holds in doubts:
        if holds:
            report.flag(reason, place)
    labels = combined(table.rows_of(name, header), report, place)
    return RawMammogram(
        name=header.sop_uid or name,
        file=name,
        patient=header.patient_id or header.study_uid,
        exam=header.study_uid or header.patient_id,
        side=header.side,
        view=header.view,
        label=labels.label,
        density=labels.density,
        assessment=labels.assessment,
        findings=inside(labels.findings, header.rows, header.columns, report, place),
        all_marked=labels.all_marked,
        split=labels.split,
        height=header.rows,
        width=header.columns,
    )


def _read_table(files: SourceFiles, report: ImportReport) -> _Table:
    table = _Table()
    if TABLE in files.names:
        for row in csv_rows(files, TABLE, (), report=report):
            _add(table, row, report)
    return table


def _add(table: _Table, row: Row, report: ImportReport) -> None:
    entry = _Entry(
        fields.side(row.get("side")), fields.view(row.get("view")), read_labels(row.get, report, row.where), row.where
    )
    if row.get("file"):
        table.by_file[row.get("file")].append(entry)
    elif row.get("sop_uid"):
        table.by_uid[row.get("sop_uid")].append(entry)
    elif not row.get("patient"):
        report.drop(NO_KEY, row.where)
    elif entry.labels.label and entry.labels.label.unit is LabelUnit.BREAST and not entry.side:
        report.drop(BREAST_WITHOUT_SIDE, row.where)
    else:
        table.by_patient[row.get("patient")].append(entry)
