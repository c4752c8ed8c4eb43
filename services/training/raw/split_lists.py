"""Splits from lists: `train.txt`, `val.txt` and `test.txt` in the root of a source, as ddsm-visual-primitives has them.

A line names a mammogram, its file or a patient. Suffixes of pictures do not count, nor do folders, so
`benign_01-B_3102_1.LEFT_CC.LJPEG.1.jpg` is the mammogram `benign_01-B_3102_1.LEFT_CC.LJPEG.1`.
"""

from dataclasses import replace

from services.common.errors import InvalidInput
from services.imaging.patches import SPLITS
from services.training.raw.case import RawMammogram
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles, name_parts
from services.training.raw.source.tables import text_lines

LARGEST_LIST = 1 << 26
NO_MAMMOGRAM = "line of a split's list that names no mammogram of the source"
IN_SEVERAL = "line of a split's list that repeats an earlier line; the earlier line counts"
NOT_LISTED = "mammogram that no list names; its patient or the seed decides on its split"
SUFFIXES = ("jpg", "jpeg", "png", "tif", "tiff", "pgm", "dcm")


class SplitLists:
    """The lists of a source. Call `assign` for each mammogram, then `report_unused`. InvalidInput if the source has no
    list."""

    def __init__(self, files: SourceFiles, report: ImportReport) -> None:
        self._report = report
        self._lines: dict[str, tuple[str, str]] = {}
        self._used: set[str] = set()
        found = [split for split in SPLITS if list_of(split) in files.names]
        if not found:
            raise InvalidInput(f"the source has none of the lists {', '.join(map(list_of, SPLITS))} in its root")
        for split in found:
            self._read(files, split)

    def assign(self, mammogram: RawMammogram, place: str) -> RawMammogram:
        """A mammogram with the split of its line, without one if no line names it. `place` names it in the report."""
        for key in map(plain, (mammogram.name, mammogram.file, mammogram.patient)):
            if key in self._lines:
                self._used.add(key)
                split, _ = self._lines[key]
                return replace(mammogram, split=split)
        self._report.flag(NOT_LISTED, place)
        return replace(mammogram, split="")

    def report_unused(self) -> None:
        """Report the lines that named no mammogram."""
        for key, (_, where) in self._lines.items():
            if key not in self._used:
                self._report.drop(NO_MAMMOGRAM, where)

    def _read(self, files: SourceFiles, split: str) -> None:
        name = list_of(split)
        for line, where in text_lines(files.read(name, LARGEST_LIST), name):
            key = plain(line)
            if key in self._lines:
                self._report.mend(IN_SEVERAL, where)
            elif key:
                self._lines[key] = split, where


def list_of(split: str) -> str:
    """The name of the list of a split."""
    return f"{split}.txt"


def plain(name: str) -> str:
    """A name without its folders and the suffix of a picture."""
    slashed = name.replace("\\", "/")
    parts = name_parts(slashed)
    return parts.stem if parts.suffix in SUFFIXES else slashed.rpartition("/")[2]
