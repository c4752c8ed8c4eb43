"""Corrects the sides of CMMD's images. The files of nine patients are known to state wrong ones.

What proves the right side: the pixels (a left breast lies at the left edge in this set), the side of the only breast
that TOMPEI-CMMD or the clinical sheet has. Without proof an image keeps its side and is marked as doubtful.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.common.errors import InvalidInput, NotFound
from services.imaging.pixels import Pixels, decode_pixels
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

WRONG_SIDES = frozenset(
    {"D1-0252", "D1-0690", "D1-0711", "D1-0999", "D2-0041", "D2-0112", "D2-0224", "D2-0229", "D2-0642"}
)
"""Patients with wrong sides in some of their files."""
CLEARLY_MORE = 1.2
"""How much brighter than the other the half of an image with the breast is at least."""
OTHER = {"LEFT": "RIGHT", "RIGHT": "LEFT"}

SWAPPED = "sides of both breasts were swapped in a view"
REVERSED = "side of the only breast was wrong"
DOUBTFUL = "side may be wrong: not labelled"
MIRRORED = "image looks mirrored"


@dataclass(frozen=True)
class SidedImage:
    """An image of a patient with side and view as its header states them. `doubtful`: the side is probably wrong."""

    file: str
    side: str
    view: str
    height: int
    width: int
    doubtful: bool = False


@dataclass(frozen=True)
class Placed:
    """The images of a patient with corrected sides. `moved` is true if the rows of the clinical sheet are about the
    other breast than they state."""

    images: list[SidedImage]
    moved: bool = False


def place(
    images: Sequence[SidedImage],
    row_sides: frozenset[str],
    read_sides: frozenset[str],
    shown_side: Callable[[str], str],
    report: ImportReport,
) -> Placed:
    """Correct the images of a patient of WRONG_SIDES. `row_sides` are those of the clinical sheet, `read_sides` those
    of TOMPEI-CMMD, and `shown_side` returns the side that the pixels of a file show, or empty text."""
    shown = {image.file: shown_side(image.file) for image in images}
    if max(Counter(image.view for image in images).values(), default=0) < 2:
        return _place_only_breast(images, row_sides, read_sides, shown, report)
    placed: list[SidedImage] = []
    for view in dict.fromkeys(image.view for image in images):
        placed += _place_view([image for image in images if image.view == view], shown, report)
    return Placed(placed)


def shown_side(files: SourceFiles, file: str) -> str:
    """The side that the pixels of a file show: the half that is clearly brighter. Empty if neither is."""
    try:
        grey = _pixels(files, file).grey.astype(np.float64)
    except (InvalidInput, NotFound):
        return ""
    half = grey.shape[1] // 2
    left, right = float(grey[:, :half].sum()), float(grey[:, half:].sum())
    if left > CLEARLY_MORE * right:
        return "LEFT"
    return "RIGHT" if right > CLEARLY_MORE * left else ""


def _pixels(files: SourceFiles, file: str) -> Pixels:
    return decode_pixels(files.read(file), files.where(file))


def _place_only_breast(
    images: Sequence[SidedImage],
    row_sides: frozenset[str],
    read_sides: frozenset[str],
    shown: dict[str, str],
    report: ImportReport,
) -> Placed:
    """Each view occurs once, so all images show one breast unless the pixels show two. What is known of its side holds
    for all of them."""
    shown_sides = frozenset(shown.values()) - {""}
    proof = next((sides for sides in (read_sides, shown_sides, row_sides) if len(sides) == 1), None)
    if proof is None or len(shown_sides) > 1:
        return Placed([image if shown[image.file] == image.side else _doubted(image, report) for image in images])
    (right_one,) = proof
    placed = []
    for image in images:
        if image.side != right_one:
            report.mend(REVERSED, image.file)
        placed.append(replace(image, side=right_one))
    return Placed(placed, moved=row_sides == {OTHER[right_one]})


def _place_view(images: Sequence[SidedImage], shown: dict[str, str], report: ImportReport) -> list[SidedImage]:
    """The images of both breasts in one view."""
    stated = {image.side for image in images}
    wrong = [image for image in images if shown[image.file] != image.side]
    if any(not shown[image.file] for image in images) or len(stated) < len(images):
        return [_doubted(image, report) for image in images]
    if len(wrong) == 2:
        for image in wrong:
            report.mend(SWAPPED, image.file)
        return [replace(image, side=shown[image.file]) for image in images]
    for image in wrong:
        report.flag(MIRRORED, image.file)
    return list(images)


def _doubted(image: SidedImage, report: ImportReport) -> SidedImage:
    report.flag(DOUBTFUL, image.file)
    return replace(image, doubtful=True)
