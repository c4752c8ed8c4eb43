"""Prepares one mammogram for a data set: reads it, finds the breast, places its findings, and cuts patches."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from services.common.errors import InvalidInput, NotFound
from services.imaging.breast import BreastMask, find_breast
from services.imaging.geometry import Region
from services.imaging.patch_grid import BreastCover, blank_background
from services.imaging.patches import Lesion, Mammogram
from services.imaging.pectoral import without_muscle
from services.imaging.pixels import Pixels, eight_bits
from services.imaging.previews import encode_preview, reduced
from services.training.raw.case import Finding, RawMammogram
from services.training.raw.cutting.cutter import Cut, choose, encode, encode_patches
from services.training.raw.cutting.labelling import Labeller, PlacedFinding
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.layout import Layout
from services.training.raw.report import ImportReport, placed
from services.training.raw.source.delivery import Undelivered
from services.training.raw.source.files import SourceFiles

UNREADABLE = "the image cannot be read"
WRONG_SIZE = "the image has another size than the table states"
NO_BREAST = "no breast is found in the image"
NO_OUTLINE = "the outline of the finding cannot be read"
OUTSIDE = "the finding lies outside of the image"
BURNED_IN = "the image may contain burned-in text"
WITH_MUSCLE = ("MLO", "ML", "LMO")
"""Views that show the pectoral muscle."""
LEAST_BREAST, MOST_BREAST = 0.02, 0.98
"""Parts of an image that a breast covers; outside of these, the mask is probably wrong."""
ODD_BREAST = "the breast covers an unusual part of the image"


class Preparer:
    """Prepares the mammograms of a source, one at a time. `kinds` are the kinds of finding of the whole source, for
    classes by phenomenon."""

    def __init__(
        self, layout: Layout, files: SourceFiles, recipe: CutRecipe, kinds: Sequence[str], report: ImportReport
    ) -> None:
        self._layout, self._files, self._recipe = layout, files, recipe
        self._kinds = kinds
        self._report = report

    def prepare(self, mammogram: RawMammogram, split: str) -> Cut | None:
        """Prepare a mammogram; None if it is left out, with the reason in the report."""
        where = self._layout.place(self._files, mammogram.file)
        try:
            pixels = self._layout.read(self._files, mammogram)
            self._check_size(mammogram, pixels)
            breast = find_breast(pixels.grey)
        except (InvalidInput, NotFound) as error:
            self._report.drop(_reason_of(error), placed(where, str(error)))
            return None
        self._flag(pixels, breast, where)
        return self._cut(mammogram, split, pixels, breast)

    def _cut(self, mammogram: RawMammogram, split: str, pixels: Pixels, breast: BreastMask) -> Cut:
        recipe = self._recipe
        height, width = pixels.grey.shape
        placed = self._place(mammogram, height, width)
        grey = blank_background(pixels.grey, breast) if recipe.blank_background else pixels.grey
        labeller = Labeller(mammogram, placed, recipe, self._kinds)
        tissue = without_muscle(grey, breast) if recipe.without_muscle and mammogram.view in WITH_MUSCLE else breast
        chosen = choose(mammogram, BreastCover(tissue), labeller, (height, width), recipe, self._report)
        patches = tuple(encode_patches(mammogram, grey, split, chosen, recipe))
        self._report.count("mammograms")
        self._report.count("patches", len(patches))
        stored = Mammogram(
            mammogram.name,
            mammogram.patient,
            mammogram.side,
            mammogram.view,
            height,
            width,
            image=encode(grey),
            preview=_preview_of(replace(pixels, grey=reduced(grey))),
        )
        lesions = tuple(
            Lesion(mammogram.name, one.finding.kind, outline, one.finding.words)
            for one in placed
            for outline in one.finding.outlines
        )
        return Cut(stored, lesions, patches)

    def _place(self, mammogram: RawMammogram, height: int, width: int) -> list[PlacedFinding]:
        """The findings with pixels in the image, with their outlines as the layout reads them."""
        placed = []
        for finding in mammogram.findings:
            outlined = self._outlined(mammogram, finding, height, width)
            if not outlined.outlines:
                continue
            region = Region.of(outlined.outlines, height, width)
            if region.area:
                placed.append(PlacedFinding(outlined, region))
            else:
                self._report.drop(OUTSIDE, f"{self._layout.place(self._files, mammogram.file)}, {finding.kind}")
        return placed

    def _outlined(self, mammogram: RawMammogram, finding: Finding, height: int, width: int) -> Finding:
        try:
            outlines = self._layout.outlines(self._files, mammogram, finding, height, width, self._report)
        except (InvalidInput, NotFound) as error:
            self._report.drop(NO_OUTLINE, str(error))
            outlines = ()
        return replace(finding, outlines=outlines)

    def _check_size(self, mammogram: RawMammogram, pixels: Pixels) -> None:
        stated, found = (mammogram.height, mammogram.width), pixels.grey.shape
        if stated not in ((0, 0), found):
            raise WrongSize(f"{found[0]} x {found[1]} pixels; the table states {stated[0]} x {stated[1]}")

    def _flag(self, pixels: Pixels, breast: BreastMask, where: str) -> None:
        for note in pixels.notes:
            self._report.flag(note, where)
        if pixels.burned_in:
            self._report.flag(BURNED_IN, where)
        if not LEAST_BREAST <= breast.small.mean() <= MOST_BREAST:
            self._report.flag(ODD_BREAST, where)


def _preview_of(pixels: Pixels) -> bytes:
    """The preview of a mammogram, through the window that its file states."""
    return encode_preview(Image.fromarray(eight_bits(pixels)))


class WrongSize(InvalidInput):
    """An image is not of the size that its table states."""


def _reason_of(error: Exception) -> str:
    if isinstance(error, WrongSize):
        return WRONG_SIZE
    if isinstance(error, Undelivered):
        return error.reason
    return NO_BREAST if "shows no breast" in str(error) else UNREADABLE
