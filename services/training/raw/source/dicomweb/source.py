"""A DICOMweb server as part of a source: which server and studies, and how this process reaches them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.training.raw.pseudonyms import open_pseudonyms
from services.training.raw.report import ImportReport
from services.training.raw.sealing import seal_names, unseal_names
from services.training.raw.source.dicomweb.client import DicomwebClient
from services.training.raw.source.dicomweb.files import LABELS, DicomwebFiles
from services.training.raw.source.dicomweb.search import Selection, search
from services.training.raw.source.dicomweb.servers import server_named
from services.training.raw.source.files import SourceFiles


class DicomwebSource(BaseModel):
    """A server by its name in the servers' file of this process, the studies to import, and the key of pseudonyms (see
    `open_pseudonyms`), under which the list of instances is stored."""

    model_config = ConfigDict(frozen=True)

    server: str
    servers_file: Path | None
    selection: Selection = Selection()
    pseudonym_key: Path | None
    home: Path

    def search(self, tables: SourceFiles | None) -> DicomwebFiles:
        """Search the server for the instances. Errors as `search`, and NotFound for an unknown server."""
        client = self._client()
        try:
            found = search(client, self.selection, tables)
        except BaseException:
            client.close()
            raise
        labels = {LABELS} if tables is not None and LABELS in tables.names else set()
        return DicomwebFiles(client, found.names | labels, tables, found.report)

    def seal(self, names: Sequence[str]) -> bytes:
        """The names of the files for storage, without which the parts would have to search again."""
        return seal_names(self._key(), names)

    def reopen(self, sealed: bytes) -> DicomwebFiles:
        """The files of stored names. Their tables are not needed again. InvalidInput if they were stored under another
        key."""
        return DicomwebFiles(self._client(), unseal_names(self._key(), sealed), None, ImportReport())

    def _client(self) -> DicomwebClient:
        return DicomwebClient(self.server, server_named(self.servers_file, self.server))

    def _key(self) -> bytes:
        return open_pseudonyms(self.pseudonym_key, self.home).key


def count_received(files: SourceFiles, report: ImportReport, what: str) -> None:
    """If the files are those of a server, add what was found and received of them to a report."""
    if isinstance(files, DicomwebFiles):
        files.count(report, what)


@contextmanager
def closed_after(files: SourceFiles) -> Iterator[None]:
    """Close the connections of files after the block, if they are those of a server."""
    try:
        yield
    finally:
        if isinstance(files, DicomwebFiles):
            files.close()
