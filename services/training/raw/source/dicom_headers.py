"""Reads the headers of the DICOM files of a source. Of a file whose header is short, only the beginning is read."""

from services.common.errors import InvalidInput
from services.imaging.dicom.file import read_header, read_header_start
from services.imaging.dicom.header import DicomHeader, NotAMammogram
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

HEAD = 1 << 16
"""Bytes of a file that are read first for its header. Most headers end before."""
UNREADABLE = "file is not a readable DICOM image"


def file_header(files: SourceFiles, name: str, where: str) -> DicomHeader:
    """Read the header of a file of a source; messages name the file `where`. Errors as `read_header`."""
    content = files.head(name, HEAD)
    if len(content) < HEAD:
        return read_header(content, where)
    return read_header_start(content, where) or read_header(files.read(name), where)


def header_or_drop(files: SourceFiles, name: str, report: ImportReport) -> DicomHeader | None:
    """Read the header of a file of a published set; None if it is no mammogram, which is reported."""
    try:
        return file_header(files, name, files.where(name))
    except NotAMammogram as error:
        report.drop(error.reason, files.where(name))
    except InvalidInput:
        report.drop(UNREADABLE, files.where(name))
    return None
