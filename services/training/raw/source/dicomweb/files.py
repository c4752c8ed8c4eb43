"""The instances of a DICOMweb server as the files of a source."""

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property

import httpx

from services.common.errors import InvalidInput, NotFound
from services.imaging.decode import LARGEST_IMAGE
from services.imaging.dicom.instance import instance_uid
from services.training.raw.report import ImportReport
from services.training.raw.source.delivery import Undelivered
from services.training.raw.source.dicomweb.client import Blocks, DicomwebClient, Refused
from services.training.raw.source.dicomweb.multipart import InstanceBody
from services.training.raw.source.files import SourceFiles

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Instances as they are stored: otherwise a server decodes and sends them in Explicit VR Little Endian."""
LABELS = "labels.csv"
"""The table that the layout `dicom` reads. It lies in the folder or bucket of tables."""
SUFFIX = ".dcm"
FIRST_BYTES = 1 << 16
"""Bytes of an instance that are read for its header, and kept for the next call."""

OTHER_INSTANCE = "the server sends another instance than the one requested (SOPInstanceUID)"
BAD_ANSWER = "the server sends no complete DICOM instance"


class DicomwebFiles:
    """Instances `<study>/<series>/<instance>.dcm` of a server, and the table of labels. What arrives is verified to be
    what was requested, and counted. Messages name instances by number, because UIDs identify."""

    def __init__(
        self, client: DicomwebClient, names: Iterable[str], tables: SourceFiles | None, search: ImportReport
    ) -> None:
        self._search = search
        self._client, self._tables = client, tables
        self._listed = frozenset(names)
        self._first: tuple[str, bytes] = ("", b"")
        self._received: set[str] = set()
        self._bytes = 0

    @cached_property
    def names(self) -> list[str]:
        """The names of all instances, and of the table of labels if there is one, sorted."""
        return sorted(self._listed)

    def read(self, name: str, most: int = LARGEST_IMAGE) -> bytes:
        """A whole file."""
        if name == LABELS:
            return self._table().read(name, most)
        content = self._retrieve(name, most, None)
        self._verify(name, content, complete=True)
        self._bytes += len(content)
        self._received.add(name)
        return content

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file. The connection is closed when they have arrived."""
        if name == LABELS:
            return self._table().head(name, count)
        held, content = self._first
        if held != name or len(content) < count:
            wanted = max(count, FIRST_BYTES)
            content = self._retrieve(name, LARGEST_IMAGE, wanted)
            self._verify(name, content, complete=len(content) < wanted)
            self._first = name, content
            self._received.add(name)
        return content[:count]

    def where(self, name: str) -> str:
        """A file as messages name it."""
        return name if name == LABELS else f"file {bisect_left(self.names, name) + 1}"

    def count(self, report: ImportReport, what: str) -> None:
        """Add the search to a report, the number of instances that were received, as `what`, and their bytes."""
        report.add(self._search)
        report.count(f"{what} received from the server", len(self._received))
        if self._bytes:
            report.count("bytes received from the server", self._bytes)

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()

    def _table(self) -> SourceFiles:
        if self._tables is None or LABELS not in self._listed:
            raise NotFound(f"the source has no file {LABELS}")
        return self._tables

    def _retrieve(self, name: str, most: int, enough: int | None) -> bytes:
        """An instance, or its first `enough` bytes and perhaps some more."""
        if name not in self._listed:
            raise NotFound(f"{self.where(name)}: the source has no such instance")
        study, series, instance = name.removesuffix(SUFFIX).split("/")

        def receive(headers: httpx.Headers, blocks: Blocks) -> bytes:
            body = InstanceBody(headers.get("content-type", ""), most)
            for block in blocks:
                body.feed(block)
                if enough is not None and len(body.content) >= enough:
                    return bytes(body.content[:enough])
            return body.finish()

        path = f"studies/{study}/series/{series}/instances/{instance}"
        try:
            content = self._client.get(path, ACCEPT, receive)
        except Refused as error:
            raise Undelivered(self.where(name), error.reason) from None
        except InvalidInput as error:
            raise Undelivered(self.where(name), BAD_ANSWER, str(error)) from None
        if content is None:
            raise Undelivered(self.where(name), BAD_ANSWER, "the server answers without content")
        return content

    def _verify(self, name: str, content: bytes, complete: bool) -> None:
        place = self.where(name)
        try:
            found = instance_uid(content, place, complete)
        except InvalidInput as error:
            raise Undelivered(place, BAD_ANSWER, str(error).removeprefix(f"{place} ")) from None
        if found != name.removesuffix(SUFFIX).rpartition("/")[2]:
            raise Undelivered(place, OTHER_INSTANCE)
