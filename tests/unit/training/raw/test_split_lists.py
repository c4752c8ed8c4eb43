"""Splits from lists."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.blobs import open_blobs
from services.common.errors import InvalidInput
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.cutting.splits import assign_splits, leaks
from services.training.raw.importing import plan_import
from services.training.raw.plan import Source
from services.training.raw.pseudonyms import Pseudonyms
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from services.training.raw.split_lists import IN_SEVERAL, NO_MAMMOGRAM, NOT_LISTED, SplitLists, plain
from tests.fakes.raw.picture_folder import write_picture_folder
from tests.fakes.raw.shared_data import shared_data
from tests.unit.training.raw.scanning import counts

RULE = CutRecipe(split_rule="lists")
PLAIN = RawMammogram("m", "m.png", "p", "e", "LEFT", "CC")


def splits_of(root: Path, mammograms: list[RawMammogram], report: ImportReport) -> list[str]:
    """The splits of mammograms by the lists of a folder."""
    lists = SplitLists(FolderFiles(root), report)
    found = [lists.assign(one, one.file) for one in mammograms]
    lists.report_unused()
    return assign_splits(found, RULE)


def test_a_line_names_a_mammogram_a_file_or_a_patient(tmp_path: Path) -> None:
    """Folders and suffixes of pictures do not count. What no line names joins its patient, and is reported; so are
    lines that name nothing, and those that name something twice."""
    (tmp_path / "train.txt").write_text("\ufeffcancer_01-B_1_1.LEFT_CC.LJPEG.1.jpg\r\n\r\nnowhere.png\n", "utf-8")
    (tmp_path / "test.txt").write_text("raw/two.PNG\nP3\ncancer_01-B_1_1.LEFT_CC.LJPEG.1\n")
    report = ImportReport()
    mammograms = [
        replace(PLAIN, name="cancer_01-B_1_1.LEFT_CC.LJPEG.1", patient="P1"),
        replace(PLAIN, name="other", file="films/two.png", patient="P2"),
        replace(PLAIN, name="three", patient="P3"),
        replace(PLAIN, name="four", file="four.png", patient="P2"),
    ]
    assert splits_of(tmp_path, mammograms, report) == ["train", "test", "test", "test"]
    assert report.dropped[NO_MAMMOGRAM].examples == ["train.txt:3"]
    assert report.mended[IN_SEVERAL].examples == ["test.txt:3"]
    assert report.flagged[NOT_LISTED].examples == ["four.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b.c.jpeg", "b.c"), ("B_1.LEFT_CC.LJPEG.1", "B_1.LEFT_CC.LJPEG.1"), (".png", ".png"), ("x\\y.dcm", "y")],
)
def test_plain_names(name: str, expected: str) -> None:
    """Only suffixes of pictures are left out."""
    assert plain(name) == expected


def test_a_source_without_lists_is_refused(tmp_path: Path) -> None:
    """The error names the lists; text that is not UTF-8 is refused by name."""
    with pytest.raises(InvalidInput, match=r"none of the lists train\.txt, val\.txt, test\.txt"):
        SplitLists(FolderFiles(tmp_path), ImportReport())
    (tmp_path / "val.txt").write_bytes(b"a\xff")
    with pytest.raises(InvalidInput, match=r"val\.txt: byte 1"):
        SplitLists(FolderFiles(tmp_path), ImportReport())


def test_an_import_follows_the_lists(tmp_path: Path) -> None:
    """The lists decide, not the source's own table, and the plan names the patient whom they put into two splits."""
    root = tmp_path / "raw"
    root.mkdir()
    write_picture_folder(root)
    (root / "train.txt").write_text("c.tif\n")
    (root / "val.txt").write_text("a.png\n")
    (root / "test.txt").write_text("b.png\nabsent.png\n")
    blobs, source = open_blobs(f"folder://{tmp_path / 'store'}"), Source(layout="folder", folder=root)
    plan = plan_import(blobs, "x", source, RULE, pseudonyms=Pseudonyms(b"k" * 32))
    [leak] = plan.leaks
    assert leak.endswith(" in val and test") and "P1" not in leak
    assert leak in plan.notice
    assert counts(plan.scan.dropped)[NO_MAMMOGRAM] == 1
    assert set(plan.parts) == {"train", "val", "test"}


def test_the_lists_of_the_original_have_five_leaks() -> None:
    """Every line of its lists of raw images names a mammogram as the layout `ddsm` names it."""
    folder = shared_data("ddsm-visual-primitives")
    if folder is None:
        return
    root = folder / "raw_image_lists"
    names = [plain(line) for one in sorted(root.glob("*.txt")) for line in one.read_text().split()]
    patients = [re.search(r"-([A-D]_\d{4})_", name) for name in names]
    mammograms = [
        replace(PLAIN, name=name, file=name, patient=found[1])
        for name, found in zip(names, patients, strict=True)
        if found is not None
    ]
    report = ImportReport()
    assert len(mammograms) == len(names) > 5000
    assert len(leaks(mammograms, splits_of(root, mammograms, report))) == 5
    assert (report.dropped, report.flagged) == ({}, {})
