"""The interface of a layout: how one kind of source is laid out in files. docs/import.md shows how to write one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from services.imaging.licence import Licence
from services.imaging.patches import Outline
from services.imaging.pixels import Pixels, decode_pixels
from services.training.raw.case import Finding, RawMammogram
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles, place_of


class Layout(ABC):
    """A kind of source. `scan` reads tables and headers only, so that it is quick; `read` decodes one mammogram."""

    name: ClassVar[str]
    """As in `primitives dataset import --layout NAME`."""
    title: ClassVar[str]
    licence: ClassVar[Licence]
    notice: ClassVar[str] = ""
    """What every page of the data set says."""
    public_identifiers: ClassVar[bool] = True
    """Whether patients and names are published pseudonyms already. If not, keyed hashes take their place."""

    @abstractmethod
    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the mammograms of a source, in an order that depends on the source only.

        Each row or file that is left out or repaired is reported. InvalidInput if the source does not have this layout
        at all: it names the missing file or column.
        """

    def place(self, files: SourceFiles, name: str) -> str:
        """A file as the report of an import names it: without its name, where names may identify patients."""
        return files.where(name) if self.public_identifiers else place_of(files, name)

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Decode a mammogram. InvalidInput names file and reason."""
        return decode_pixels(files.read(mammogram.file), files.where(mammogram.file))

    def outlines(
        self,
        files: SourceFiles,  # noqa: ARG002 - layouts with masks need it and all others
        mammogram: RawMammogram,  # noqa: ARG002
        finding: Finding,
        height: int,  # noqa: ARG002
        width: int,  # noqa: ARG002
        report: ImportReport,  # noqa: ARG002
    ) -> tuple[Outline, ...]:
        """The outlines of a finding in its mammogram, which was read and has height x width pixels.

        Layouts whose findings are masks (`Finding.mask`) decode them here, because a scan must not decode. What is
        repaired or missing is reported. Without any outline it is unknown where the finding is: the mammogram then does
        not count as `all_marked`.
        """
        return finding.outlines
