"""A study that is read under a protocol, for tests."""

from typing import Any

from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol_schemas import AnswerReadingRequest, OpenProtocolRequest, ProtocolView, ReadingView
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readers import Reader
from services.annotation.workflow.readings import Readings
from tests.fakes.annotation import Annotation

FORM: dict[str, Any] = {
    "recognizable": "yes",
    "multiplicity": "single",
    "phenomena": ["margin-spiculated"],
    "associated": "yes",
    "confidence": "3",
}
NOTHING: dict[str, Any] = {"recognizable": "no", "confidence": "4"}


def request(readers: list[str], **document: Any) -> OpenProtocolRequest:
    """The request to open a protocol of all units, with changes to its document."""
    fields = {"title": "Test", "units": {"choose": "all"}, "seed": 1} | document
    return OpenProtocolRequest(document=ProtocolDocument.model_validate(fields), readers=readers)


class ReaderStudy:
    """A study with an open protocol, and its readers."""

    def __init__(self, annotation: Annotation, readers: list[str], **document: Any) -> None:
        self.annotation = annotation
        self.protocols, self.readings = Protocols(annotation.ports), Readings(annotation.ports)
        self.protocol = self.open(readers, **document)

    def open(self, readers: list[str], **document: Any) -> ProtocolView:
        """Open another version."""
        self.protocol = self.protocols.open(self.annotation.study_id, request(readers, **document))
        return self.protocol

    @property
    def key(self) -> tuple[str, int]:
        """The key of the open version."""
        return self.protocol.study_id, self.protocol.version

    def reader(self, name: str) -> Reader:
        """A reader without other rights."""
        return self.annotation.readers.named(name)

    def ids(self, name: str) -> list[str]:
        """The ids of a reader's readings, in order."""
        return [place.reading_id for place in self.readings.places(self.reader(name), self.key).readings]

    def answer(self, name: str, reading_id: str, **changes: Any) -> ReadingView:
        """Answer a reading."""
        fields = {"answers": FORM, "misfits": []} | changes
        return self.readings.answer(self.reader(name), reading_id, AnswerReadingRequest.model_validate(fields))

    def answer_all(self, name: str) -> None:
        """Answer all readings of a reader."""
        for reading_id in self.ids(name):
            self.answer(name, reading_id)
