"""The layout of pictures with tables: the convention, and what layout.json changes."""

import json
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.imaging.geometry import Region, box_outline
from services.training.raw import label_rows
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Mask, Outcome, RawMammogram
from services.training.raw.layouts import layout_named
from services.training.raw.layouts.folder import layout as folder
from services.training.raw.layouts.folder import tables as folder_tables
from services.training.raw.layouts.folder.layout import PictureFolder
from services.training.raw.report import ImportReport, Reason
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.picture_folder import (
    BOX,
    MAPPING,
    MASK,
    OUTLINE,
    image,
    write_mapped_folder,
    write_picture_folder,
)

MALIGNANT, BENIGN = Outcome.MALIGNANT, Outcome.BENIGN


def scan(root: Path) -> tuple[dict[str, RawMammogram], ImportReport]:
    """The mammograms of a folder by the names of their files, and the report."""
    report = ImportReport()
    found = {mammogram.file: mammogram for mammogram in PictureFolder().scan(FolderFiles(root), report)}
    return found, report


def counts(reasons: dict[str, Reason]) -> dict[str, int]:
    """The counts by reason."""
    return {text: reason.count for text, reason in reasons.items()}


def test_kept_dropped_and_flagged(tmp_path: Path) -> None:
    """Every file and row is accounted for."""
    write_picture_folder(tmp_path)
    found, report = scan(tmp_path)
    assert sorted(found) == [
        "images/a.png",
        "images/b.jpg",
        "images/broken.png",
        "images/c.tif",
        "images/d.pgm",
        "images/e.png",
        "images/rgb16.png",
    ]
    assert counts(report.dropped) == {
        folder_tables.AMBIGUOUS: 1,
        folder_tables.NO_FILE: 2,
        folder_tables.NO_MASK: 1,
        label_rows.BAD_OUTLINE: 2,
        label_rows.BAD_BOX: 1,
        folder.NOT_A_PICTURE: 1,
        folder.NO_PATIENT: 5,
    }
    assert counts(report.flagged) == {
        folder.TEXTS_DIFFER: 2,
        folder.NO_SIDE: 1,
        folder.NO_VIEW: 1,
        folder_tables.NO_PLACE: 1,
    }
    assert report.mended == {}
    text = report.model_dump_json()
    assert "images/" not in text and ".png" not in text


def test_labels(tmp_path: Path) -> None:
    """Rows name files with or without folder and suffix, and keep unit and source."""
    write_picture_folder(tmp_path)
    found, _ = scan(tmp_path)
    assert {name: mammogram.label for name, mammogram in found.items() if mammogram.label} == {
        "images/a.png": Label(MALIGNANT, LabelUnit.IMAGE, LabelSource.PATHOLOGY),
        "images/b.jpg": Label(BENIGN, LabelUnit.BREAST, LabelSource.ASSESSMENT),
        "images/c.tif": Label(Outcome.NORMAL, LabelUnit.IMAGE, LabelSource.SCREENING),
        "images/e.png": Label(MALIGNANT, LabelUnit.IMAGE, LabelSource.PATHOLOGY),
        "images/broken.png": Label(BENIGN, LabelUnit.IMAGE, LabelSource.PATHOLOGY),
        "images/rgb16.png": Label(BENIGN, LabelUnit.IMAGE, LabelSource.PATHOLOGY),
    }
    first, second = found["images/a.png"], found["images/b.jpg"]
    assert (first.patient, first.exam, first.side, first.view) == ("P1", "P1/1", "LEFT", "CC")
    assert (first.density, first.assessment, first.split) == ("d", 5, "train")
    assert (second.side, second.view, second.density) == ("RIGHT", "MLO", "b")


def test_findings(tmp_path: Path) -> None:
    """Boxes, outlines and masks; a finding without a usable place stays, without one."""
    write_picture_folder(tmp_path)
    found, _ = scan(tmp_path)
    assert found["images/a.png"].findings == (
        Finding("mass", (box_outline(*BOX),), MALIGNANT, 5),
        Finding("calcification", (OUTLINE,), BENIGN, 2),
    )
    assert found["images/a.png"].all_marked and not found["images/b.jpg"].all_marked
    masks = [finding.mask for finding in found["images/b.jpg"].findings]
    assert masks == [
        Mask("masks/b.png"),
        None,
        *(Mask(f"masks/{name}.png") for name in ("empty", "small", "broken")),
    ]
    assert [finding.outlines for finding in found["images/d.pgm"].findings] == [(), (), (), ()]


def test_masks_become_outlines(tmp_path: Path) -> None:
    """An outline covers the pixels that were drawn; masks that cannot be used are reported."""
    write_picture_folder(tmp_path)
    found, _ = scan(tmp_path)
    files, mammogram, report = FolderFiles(tmp_path), found["images/b.jpg"], ImportReport()
    outlines = [PictureFolder().outlines(files, mammogram, one, 80, 60, report) for one in mammogram.findings]
    drawn = np.zeros((80, 60), dtype=bool)
    drawn[MASK] = True
    assert Region.of(outlines[0], 80, 60).area == pytest.approx(drawn.sum(), rel=0.1)
    assert outlines[1:] == [(), (), (), ()]
    assert counts(report.dropped) == {folder.EMPTY_MASK: 1, folder.MASK_SIZE: 1, folder.BAD_MASK: 1}
    box = found["images/a.png"].findings[0]
    assert PictureFolder().outlines(files, mammogram, box, 80, 60, report) == box.outlines


def test_pixels(tmp_path: Path) -> None:
    """All kinds of pictures keep their depth; broken ones are refused by their number."""
    write_picture_folder(tmp_path)
    found, _ = scan(tmp_path)
    files, layout = FolderFiles(tmp_path), PictureFolder()
    for name in ("images/a.png", "images/c.tif", "images/d.pgm"):
        np.testing.assert_array_equal(layout.read(files, found[name]).grey, image(16))
    shallow = layout.read(files, found["images/b.jpg"]).grey
    assert shallow.dtype == np.uint8 and shallow.shape == (80, 60)
    dark = layout.read(files, found["images/e.png"])
    assert dark.notes == (folder.FEW_BITS,)
    np.testing.assert_array_equal(dark.grey, image(12))
    for name in ("images/broken.png", "images/rgb16.png"):
        with pytest.raises(InvalidInput, match=r"^file \d+ is not a complete image"):
            layout.read(files, found[name])


def test_a_mapping_renames_and_translates(tmp_path: Path) -> None:
    """Other columns, words, defaults, a template, depth and polarity."""
    write_mapped_folder(tmp_path)
    found, report = scan(tmp_path)
    assert {
        name: (one.patient, one.side, one.view, one.label and one.label.outcome, one.all_marked)
        for name, one in found.items()
    } == {
        "17_a_li-cc.png": ("17", "LEFT", "CC", MALIGNANT, True),
        "17_b_RE-MLO.png": ("17", "RIGHT", "MLO", Outcome.NORMAL, True),
        "18_c_L-CC.png": ("18", "LEFT", "CC", None, False),
    }
    assert (report.dropped, report.flagged) == ({}, {})
    assert found["17_a_li-cc.png"].label == Label(MALIGNANT, LabelUnit.BREAST, LabelSource.PATHOLOGY)
    pixels = PictureFolder().read(FolderFiles(tmp_path), found["18_c_L-CC.png"])
    np.testing.assert_array_equal(pixels.grey, image(12) << 4)
    assert (pixels.spacing, pixels.notes) == (0.05, ())


def test_more_bits_than_the_mapping_states_are_refused(tmp_path: Path) -> None:
    """The depth of a source is one for all of its pictures."""
    write_mapped_folder(tmp_path)
    (tmp_path / "layout.json").write_text(json.dumps({**MAPPING, "bits": 10}))
    found, _ = scan(tmp_path)
    with pytest.raises(InvalidInput, match=r"file 1 has values of 12 bits; layout\.json states 10"):
        PictureFolder().read(FolderFiles(tmp_path), found["17_a_li-cc.png"])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("{", "layout.json: "),
        ('{"label": "x.csv"}', "layout.json: label: Extra inputs"),
        ('{"bits": 40}', "layout.json: bits: Input should be less than or equal to 16"),
        ('{"columns": {"pathology": "x"}}', "layout.json: columns.pathology"),
        ('{"template": "{patient}{side}.png"}', "two fields without text between them"),
        ('{"template": "{date}.png"}', "has fields other than patient, exam, side, view and _"),
        ('{"delimiter": "\\""}', "delimiter cannot be a quote"),
        ('{"labels": "none.csv"}', "neither a table none.csv nor a template in layout.json"),
    ],
)
def test_faults_of_the_mapping_are_named(tmp_path: Path, mapping: str, message: str) -> None:
    """A strict model: what it does not know is a mistake."""
    (tmp_path / "layout.json").write_text(mapping)
    with pytest.raises(InvalidInput) as refused:
        scan(tmp_path)
    assert message in str(refused.value)


def test_a_table_without_the_column_of_the_file_is_refused(tmp_path: Path) -> None:
    """The missing column is named."""
    (tmp_path / "labels.csv").write_text("picture,patient\na.png,P1\n")
    with pytest.raises(InvalidInput, match=r"labels\.csv has no column file"):
        scan(tmp_path)


def test_the_layout_has_a_name() -> None:
    """Its identifiers are not public, so pseudonyms take their place."""
    assert isinstance(layout_named("folder"), PictureFolder)
    assert not PictureFolder.public_identifiers
