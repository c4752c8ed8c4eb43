"""DICOM mammograms with a recognisable secret in every attribute that could identify somebody.

These are all attributes of the DICOM dictionary whose values are names, texts, dates, times, ages or UIDs, at the top
of the file, in nested sequences and in private attributes. The list of the standard's profile for de-identification
(PS3.15, table E.1-1) is a part of these.
"""

from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import Any

from pydicom import Dataset
from pydicom.datadict import DicomDictionary, dictionary_keyword
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.fakes.raw.dicom import breast, file_bytes, mammogram

SECRETS = {
    "PN": "Zsurname^Zgiven^Zmiddle",
    "LO": "Zsecret long",
    "SH": "Zsecret short",
    "LT": "Zsecret text\nof two lines",
    "ST": "Zsecret short text",
    "UT": "Zsecret unlimited text",
    "UC": "Zsecret characters",
    "UR": "http://zsecret.example/path",
    "DA": "20770913",
    "TM": "214357.879",
    "DT": "20770913214357.879",
    "AS": "077Y",
    "UI": "1.2.826.77777.99",
}
"""A secret for each kind of value."""
PARTS = ("zsecret", "zsurname", "zgiven", "zmiddle", "20770913", "214357", "077y", "77777")
"""Parts of the secrets that must not occur anywhere."""
NUMBERS = count()
NEEDED = frozenset({"SOPClassUID"})
"""What makes the file a mammogram, though it has the kind of a secret."""


def secret_attributes() -> Iterator[tuple[int, str]]:
    """Tag and kind of every attribute that gets a secret. File meta information and commands are not in a data set."""
    for tag, (kind, *_) in sorted(DicomDictionary.items()):
        if kind in SECRETS and tag >> 16 > 2 and dictionary_keyword(tag) not in NEEDED:
            yield tag, kind


def fill(dataset: Dataset) -> None:
    """Give every such attribute its secret."""
    for tag, kind in secret_attributes():
        dataset.add_new(tag, kind, SECRETS[kind])


@cache
def secrets() -> Dataset:
    """A data set of secrets, with more of them in its sequences."""
    dataset, inner = Dataset(), Dataset()
    fill(dataset)
    fill(inner)
    dataset.RequestAttributesSequence = Sequence([inner])
    outer = Dataset()
    outer.FrameAnatomySequence = Sequence([inner])
    dataset.SharedFunctionalGroupsSequence = Sequence([outer])
    dataset.ViewCodeSequence = Sequence([inner])
    for number, (kind, secret) in enumerate(SECRETS.items()):
        dataset.add_new(0x00090010, "LO", "ZSECRET VENDOR")
        dataset.add_new(0x00091000 + number, kind, secret)
    return dataset


def secret_mammogram(**attributes: Any) -> Dataset:
    """A mammogram that is full of secrets."""
    dataset = mammogram(breast())
    dataset.update(secrets())
    dataset.SOPInstanceUID = f"{SECRETS['UI']}.{next(NUMBERS)}"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def secret_file(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The file of a data set."""
    content = file_bytes(dataset, syntax)
    assert content.count(b"Zs") > 2000
    return content
