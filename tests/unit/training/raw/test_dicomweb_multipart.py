"""The instance in an answer of WADO-RS, also in hostile answers."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidInput
from services.training.raw.source.dicomweb.multipart import ENVELOPE, InstanceBody

KIND = 'multipart/related; type="application/dicom"; boundary=abc'
HEADER = b"--abc\r\nContent-Type: application/dicom\r\n\r\n"
MOST = 1000


def parsed(answer: bytes, kind: str = KIND, step: int = 7) -> bytes:
    """The instance of an answer that arrives in blocks of `step` bytes."""
    body = InstanceBody(kind, MOST)
    for start in range(0, len(answer), step):
        body.feed(answer[start : start + step])
    return body.finish()


@given(
    st.one_of(st.binary(max_size=200), st.text("\r\n-abc", max_size=60).map(str.encode)),
    st.integers(1, 300),
)
def test_every_instance_arrives_as_it_was_sent(content: bytes, step: int) -> None:
    """Whatever the blocks are, and whatever looks like a boundary without being one."""
    if b"\r\n--abc" in b"\r\n" + content:
        content = content.replace(b"abc", b"cba")
    assert parsed(HEADER + content + b"\r\n--abc--\r\n", step=step) == content


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/related; boundary="abc"; type="application/dicom"',
        "Multipart/Related;boundary=abc",
        'multipart/related; type=application/dicom; boundary="abc"; start="<1>"',
    ],
)
def test_forms_of_the_content_type(kind: str) -> None:
    """Quotes, order and case do not matter; a line break before the first boundary neither."""
    assert parsed(b"\r\n" + HEADER + b"one\r\n--abc--", kind) == b"one"


def test_a_file_alone_is_an_instance() -> None:
    """Some servers answer without multipart."""
    assert parsed(b"whole", "application/dicom; transfer-syntax=1.2") == b"whole"


def test_long_boundaries_are_read() -> None:
    """Orthanc's have 73 characters; the standard allows 70."""
    long = "bbfee1c8-40d9-4e61-960e-0041cbd8b754-0311d302-933a-4dc8-9099-74b443ce5xyz"
    answer = HEADER.replace(b"abc", long.encode()) + b"one\r\n--" + long.encode() + b"--"
    assert parsed(answer, KIND.replace("abc", long)) == b"one"


@pytest.mark.parametrize(
    ("answer", "kind", "fault"),
    [
        (HEADER + b"half of it", KIND, "ends before the end"),
        (HEADER + b"half\r\n--ab", KIND, "ends before the end"),
        (HEADER, KIND, "ends before the end"),
        (b"", KIND, "ends before the end"),
        (b"--abc--\r\n", KIND, "not valid multipart|ends before the end"),
        (HEADER + b"1\r\n" + HEADER + b"2\r\n--abc--", KIND, "several instances"),
        (HEADER.replace(b"abc", b"xyz") + b"1\r\n--xyz--", KIND, "not valid multipart"),
        (b"<html>PAT1</html>", KIND, "not valid multipart"),
        (b"--abc\r\nno header\r\n\r\n1\r\n--abc--", KIND, "not valid multipart"),
        (b"--abc\r\n" + b"x: y\r\n" * 5000 + b"\r\n1\r\n--abc--", KIND, "not valid multipart"),
        (b"--abc\r\nx: " + b"y" * 50_000 + b"\r\n\r\n1\r\n--abc--", KIND, "not valid multipart"),
        (HEADER + b"1" * (MOST + 1) + b"\r\n--abc--", KIND, "more than 1000 bytes"),
        (HEADER + b"1\r\n--abc--" + b" " * (MOST + ENVELOPE), KIND, "more than 1000 bytes|not valid"),
        (b"\r\n" * (MOST + ENVELOPE), KIND, "more than 1000 bytes"),
        (b"1" * (MOST + 1), "application/dicom", "more than 1000 bytes"),
        (HEADER + b"1\r\n--abc--", "multipart/related", "no valid boundary"),
        (HEADER + b"1\r\n--abc--", 'multipart/related; boundary=""', "no valid boundary"),
        (HEADER + b"1\r\n--abc--", f"multipart/related; boundary={'a' * 201}", "no valid boundary"),
        (HEADER + b"1\r\n--abc--", 'multipart/related; boundary="a\\"b"', "no valid boundary"),
        (HEADER + b"1\r\n--abc--", "multipart/related; boundary=ü", "no valid boundary"),
        (HEADER + b"1\r\n--abc--", "multipart/form-data; boundary=abc", "another content type"),
        (b"{}", "application/dicom+json", "another content type"),
        (b"", "", "another content type"),
    ],
)
def test_other_answers_are_refused(answer: bytes, kind: str, fault: str) -> None:
    """With the reason, and without a word of the answer."""
    with pytest.raises(InvalidInput, match=fault) as caught:
        parsed(answer, kind, step=1000)
    assert "PAT1" not in str(caught.value)


@given(st.binary(max_size=300), st.sampled_from([b"", HEADER, b"--abc\r\n"]), st.integers(1, 50))
def test_random_answers_are_refused_or_read(answer: bytes, start: bytes, step: int) -> None:
    """Nothing but InvalidInput leaves the parser, and no more than was sent."""
    with suppress(InvalidInput):
        assert len(parsed(start + answer, step=step)) <= len(answer)


@given(st.text(max_size=100))
def test_random_content_types_are_refused_or_read(kind: str) -> None:
    """Nothing but InvalidInput leaves the parser."""
    with suppress(InvalidInput):
        assert parsed(b"\r\n", f"multipart/related; {kind}") == b""
