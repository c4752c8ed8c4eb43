"""Takes the one instance out of an answer of WADO-RS, while it arrives: multipart/related with one part, or the file
itself."""

import re
from email.message import Message

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from services.common.errors import InvalidInput

DICOM, MULTIPART = "application/dicom", "multipart/related"
ENVELOPE = 1 << 16
"""Bytes of an answer around the instance."""
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,199}[A-Za-z0-9'()+_,./:=?-]")
"""As RFC 2046, but longer: servers exceed its 70 characters."""


class InstanceBody:
    """The instance of an answer. InvalidInput, from every method, if the answer has another form, another part, or an
    instance of more than `most` bytes; the messages quote nothing of the answer."""

    def __init__(self, content_type: str, most: int) -> None:
        self.content = bytearray()
        """What has arrived of the instance."""
        self._most, self._fed = most, 0
        self._parts = self._ended = 0
        header = Message()
        header["content-type"] = content_type
        kind = header.get_content_type()
        if kind not in (DICOM, MULTIPART):
            raise InvalidInput("the server answers with another content type than DICOM")
        self._parser = self._multipart(header.get_boundary("")) if kind == MULTIPART else None

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the answer."""
        self._fed += len(block)
        if self._fed > self._most + ENVELOPE:
            raise self._too_large()
        if self._parser is None:
            self._take(block, 0, len(block))
            return
        try:
            self._parser.write(block)
        except MultipartParseError:
            raise InvalidInput("the answer of the server is not valid multipart") from None

    def finish(self) -> bytes:
        """The whole instance. InvalidInput if it has not arrived completely."""
        if self._parser is not None and not self._ended:
            raise InvalidInput("the answer of the server ends before the end of the instance")
        return bytes(self.content)

    def _multipart(self, boundary: str) -> MultipartParser:
        if _BOUNDARY.fullmatch(boundary) is None:
            raise InvalidInput("the answer of the server has no valid boundary")
        return MultipartParser(
            boundary.encode(),
            {"on_part_begin": self._begin, "on_part_data": self._take, "on_part_end": self._end},
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise InvalidInput("the server answers with several instances; expected one")

    def _end(self) -> None:
        self._ended += 1

    def _take(self, data: bytes, start: int, end: int) -> None:
        if len(self.content) + end - start > self._most:
            raise self._too_large()
        self.content += data[start:end]

    def _too_large(self) -> InvalidInput:
        return InvalidInput(f"the instance has more than {self._most} bytes")
