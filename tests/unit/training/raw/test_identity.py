"""No identifying value of a DICOM file gets past an import: not in what it yields, not in reports, errors or logs."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.uid import JPEGLosslessSV1

from services.common.blobs import open_blobs
from services.common.errors import InvalidInput
from services.imaging.dicom.identity import HEADER, PIXELS
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.layouts.dicom import DAMAGED, TABLE, PlainDicom
from services.training.raw.plan import Source
from services.training.raw.pseudonyms import Pseudonyms, find_files
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.dicom import breast
from tests.fakes.raw.secrets import PARTS, SECRETS, secret_attributes, secret_file, secret_mammogram

LABELS = "patient,side,outcome,unit,source\nZsecret long,L,malignant,breast,pathology\n"


def raw_value(content: bytes, keyword: str, old: bytes, new: bytes) -> bytes:
    """The file with other bytes in one attribute, such as text where the standard wants a number."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None
    key = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    place = content.rindex(key)
    end = content.index(old, place) + len(old)
    assert end - place < 64 and len(old) == len(new)
    return content[: end - len(old)] + new + content[end:]


def damaged_files() -> dict[str, bytes]:
    """Files that an import refuses or doubts, each for another reason."""
    whole = secret_file(secret_mammogram())
    windowed = secret_file(secret_mammogram(WindowCenter="2000.123456", WindowWidth="1000"))
    return {
        "truncated": secret_file(secret_mammogram())[:-3000],
        "headless": whole[:90000],
        "short": whole[:300],
        "other modality": secret_file(secret_mammogram(Modality="CT")),
        "report": secret_file(secret_mammogram(Modality="SR", PixelData=b"")),
        "tomosynthesis": secret_file(secret_mammogram(SOPClassUID="1.2.840.10008.5.1.4.1.1.13.1.3")),
        "colour": secret_file(secret_mammogram(PhotometricInterpretation="RGB")),
        "too large": secret_file(secret_mammogram(Rows=60000, Columns=60000)),
        "deep": secret_file(secret_mammogram(BitsAllocated=32)),
        "words for numbers": raw_value(windowed, "WindowCenter", b"2000.123456", b"Zsecret^Zzz"),
        "words for a name": raw_value(
            secret_file(secret_mammogram()), "PhotometricInterpretation", b"MONOCHROME2", b"Zsecret^Zzz"
        ),
        "words for a choice": raw_value(
            secret_file(secret_mammogram()), "PresentationIntentType", b"FOR PRESENTATION", b"Zsecret^Zsurname"
        ),
        "words for frames": raw_value(
            secret_file(secret_mammogram(NumberOfFrames="0000000001")), "NumberOfFrames", b"0000000001", b"Zsecret^Zz"
        ),
        "compressed": secret_file(secret_mammogram(), JPEGLosslessSV1)[:-2000],
        "unknown syntax": secret_file(secret_mammogram()).replace(
            b"1.2.840.10008.1.2.1\0", b"1.2.826.77777.99.7\0\0", 1
        ),
        "no DICOM": b"Zsecret text",
    }


def test_every_kind_of_secret_is_in_the_file() -> None:
    """A thousand attributes, among them the best known."""
    tags = dict(secret_attributes())
    assert len(tags) > 1000
    for tag in (0x00100010, 0x00100020, 0x00100030, 0x00101040, 0x00080050, 0x00080090, 0x00081030, 0x00400244):
        assert tag in tags
    content = secret_file(secret_mammogram()).lower()
    assert all(part.encode() in content for part in PARTS)


def test_no_secret_leaves_an_import(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All of what an import yields, reports, raises, logs, warns and prints."""
    folder = tmp_path / "zsurname_zgiven 20770913"
    folder.mkdir()
    (folder / "zsecret.dcm").write_bytes(secret_file(secret_mammogram()))
    for number, content in enumerate(damaged_files().values()):
        (folder / f"zsecret {number}.dcm").write_bytes(content)
    wrong = "Zsecret" + 4 * ",Zsecret"
    (tmp_path / TABLE).write_text(f"{LABELS}{wrong}\n")
    caplog.set_level(logging.DEBUG)
    produced, errors = everything_produced(tmp_path)
    assert len(errors) > 3
    printed = capfd.readouterr()
    warned = [str(warning.message) for warning in recwarn]
    text = "\n".join([*produced, *errors, caplog.text, *warned, printed.out, printed.err]).lower()
    assert [part for part in PARTS if part in text] == []


def everything_produced(root: Path) -> tuple[list[str], list[str]]:
    """What an import of a folder produces, and the tracebacks of its errors."""
    files, report, layout, produced, errors = FolderFiles(root), ImportReport(), PlainDicom(), [], []
    pseudonyms = Pseudonyms(bytes(range(32)))
    for mammogram_ in layout.scan(files, report):
        produced.append(repr(pseudonyms.hide(mammogram_, files)))
        try:
            pixels = layout.read(files, mammogram_)
        except InvalidInput:
            errors.append(traceback.format_exc())
            continue
        np.testing.assert_array_equal(pixels.grey, breast() << 4)
        produced.append(repr({name: value for name, value in asdict(pixels).items() if name != "grey"}))
    assert report.dropped[DAMAGED].count > 3
    return [*produced, repr(pseudonyms), report.model_dump_json()], errors


def test_the_labels_of_a_secret_patient_still_arrive(tmp_path: Path) -> None:
    """The table names patients as the files do, and the pseudonym hides both."""
    (tmp_path / "a.dcm").write_bytes(secret_file(secret_mammogram()))
    (tmp_path / TABLE).write_text(LABELS)
    files = FolderFiles(tmp_path)
    (found,) = PlainDicom().scan(files, ImportReport())
    assert found.label is not None
    hidden = Pseudonyms(bytes(32)).hide(found, files)
    assert find_files(hidden, files).file == "a.dcm"
    assert (hidden.label, hidden.side, hidden.view) == (found.label, "LEFT", "CC")
    assert hidden.patient == Pseudonyms(bytes(32)).patient("Zsecret long")


def test_nothing_that_an_import_stores_identifies_a_patient(tmp_path: Path) -> None:
    """Neither keys nor contents of any object of the plan, the parts and the data set have a secret, nor has the
    report. Without a key for pseudonyms the import is refused."""
    folder = tmp_path / "zsecret folder"
    folder.mkdir()
    (folder / "zsecret.dcm").write_bytes(secret_file(secret_mammogram()))
    (folder / TABLE).write_text(LABELS)
    blobs = open_blobs(f"folder://{tmp_path / 'blobs'}")
    source = Source(layout="dicom", folder=folder)
    recipe = CutRecipe(weak_labels=True, fractions=(0.25,), breast_cover=0.1)
    with pytest.raises(InvalidInput, match="layout dicom needs a key for pseudonyms"):
        plan_import(blobs, "own", source, recipe)
    plan = plan_import(blobs, "own", source, recipe, pseudonyms=Pseudonyms(bytes(32)))
    cut_part(blobs, plan, 0)
    manifest, _, report = assemble(blobs, plan)
    assert manifest.mammogram_count == 1
    stored = [report.model_dump_json().encode()]
    for bucket_file in (tmp_path / "blobs").rglob("*"):
        stored.append(bucket_file.relative_to(tmp_path / "blobs").as_posix().encode())
        if bucket_file.suffix == ".parquet":
            stored.append(repr(pq.read_table(bucket_file).to_pylist()).encode())
        elif bucket_file.is_file():
            stored.append(bucket_file.read_bytes())
    text = b"\n".join(stored).lower()
    assert [part for part in PARTS if part.encode() in text] == []


def test_the_list_of_attributes_is_short_and_known() -> None:
    """A new attribute must be added here too, after thinking about what it may contain."""
    texts = {keyword for keyword in (*HEADER, *PIXELS) if kind_of(keyword) in SECRETS}
    assert texts == {
        "PatientID",
        "StudyInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "SeriesDescription",
        "ProtocolName",
        "Manufacturer",
    }


def kind_of(keyword: str) -> str:
    """The kind of values of an attribute."""
    kinds = {entry[4]: entry[0] for entry in DicomDictionary.values()}
    return kinds[keyword]


PSEUDONYM: dict[str, Callable[[Pseudonyms, str], str]] = {
    "patient": Pseudonyms.patient,
    "exam": Pseudonyms.exam,
    "mammogram": Pseudonyms.name,
}


def test_pseudonyms() -> None:
    """They are stable under a key, differ by kind, text and key, and have 16 digits."""
    one, other = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    for kind, make in PSEUDONYM.items():
        assert make(one, "P1") == make(Pseudonyms(b"a" * 32), "P1")
        assert make(one, "P1").startswith(f"{kind}-") and len(make(one, "P1")) == len(kind) + 17
        assert len({make(one, "P1")[-16:], make(one, "P2")[-16:], make(other, "P1")[-16:]}) == 3
    assert len({make(one, "P1")[-16:] for make in PSEUDONYM.values()}) == 3
    assert "aaaa" not in repr(one)


def test_the_key_of_pseudonyms(tmp_path: Path) -> None:
    """A key is a file of at least 32 bytes."""
    (tmp_path / "key").write_bytes(b"k" * 32)
    assert Pseudonyms.of_file(tmp_path / "key") == Pseudonyms(b"k" * 32)
    (tmp_path / "short").write_bytes(b"k" * 31)
    with pytest.raises(InvalidInput, match="31 bytes; expected at least 32"):
        Pseudonyms.of_file(tmp_path / "short")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Pseudonyms.of_file(tmp_path / "none")
