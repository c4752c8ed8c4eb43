"""Patches: squares cut from mammograms, with label, patient and the box they were cut from.

The name formats come from DDSM and ddsm-visual-primitives (see docs/formats.md).
"""

import re
from dataclasses import dataclass

from services.common.errors import InvalidInput
from services.common.redaction import quoted

Outline = tuple[tuple[float, float], ...]
"""A closed polygon of (row, column) vertices in pixels of the mammogram; whole numbers are centres of pixels. It may
leave the image."""

SPLITS = ("train", "val", "test")
SIDES = {"L": "LEFT", "R": "RIGHT", "LEFT": "LEFT", "RIGHT": "RIGHT"}
"""Sides by the words and letters that sources use, in capitals."""

# Numbers have at most nine digits, since tables hold 32 bits. A longer one is no box.
_BOX_SUFFIX = re.compile(
    r"-x(?P<row>[0-9]{1,9})_y(?P<column>[0-9]{1,9})_w(?P<height>[0-9]{1,9})_h(?P<width>[0-9]{1,9})"
    r"_imgfrac(?P<image_fraction>[0-9.]{1,20})_stridefrac(?P<stride_fraction>[0-9.]{1,20}?)"
    r"(?P<suffix>\.jpe?g|\.png)$"
)
_DDSM_EXAM = re.compile(r"-(?P<exam>[A-D]_\d{4})_\d\.(?:LEFT|RIGHT)_(?:CC|MLO)")


@dataclass(frozen=True)
class Box:
    """A rectangle in a mammogram, in its pixels: row and column of the upper left corner, height and width."""

    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True)
class PatchName:
    """The parts of a patch's file name. `mammogram` is the stem of the full image, `box` the location of the patch."""

    mammogram: str
    box: Box
    image_fraction: str
    stride_fraction: str
    suffix: str = ".jpg"

    def __str__(self) -> str:
        box = self.box
        return (
            f"{self.mammogram}-x{box.row}_y{box.column}_w{box.height}_h{box.width}"
            f"_imgfrac{self.image_fraction}_stridefrac{self.stride_fraction}{self.suffix}"
        )


def parse_patch_name(name: str) -> PatchName:
    """Read `<mammogram>-x<row>_y<column>_w<height>_h<width>_imgfrac<f>_stridefrac<g>.jpg`, or `.png`.

    Careful: the number after `x` is the **row**, and the number after `y` is the **column** (as in the original's
    server/backend.py, the view that the experts used). InvalidInput for a name without a square box, and for numbers of
    more than nine digits.
    """
    found = _BOX_SUFFIX.search(name)
    if found is None:
        raise InvalidInput(
            f"patch name {quoted(name)} has no box; expected "
            "<mammogram>-x<row>_y<column>_w<height>_h<width>_imgfrac<f>_stridefrac<g>.jpg"
        )
    box = Box(int(found["row"]), int(found["column"]), int(found["height"]), int(found["width"]))
    if box.height != box.width or box.height == 0:
        raise InvalidInput(
            f"patch name {quoted(name)} has a box of {box.height} x {box.width} pixels; expected a square"
        )
    return PatchName(name[: found.start()], box, found["image_fraction"], found["stride_fraction"], found["suffix"])


def exam_of(mammogram: str) -> str:
    """Return the exam of a DDSM mammogram, which identifies its patient: `B_3099` for
    `benign_01-B_3099_1.LEFT_CC.LJPEG.1`. InvalidInput for a name without an exam."""
    found = _DDSM_EXAM.search(mammogram)
    if found is None:
        raise InvalidInput(
            f"mammogram name {quoted(mammogram)} contains no exam; expected "
            "<type>_<volume>-<A-D>_<case>_1.<SIDE>_<VIEW>"
        )
    return found["exam"]


@dataclass(frozen=True)
class Patch:
    """A patch to add to a data set. `image` is the encoded JPEG or PNG, unchanged.

    `phenomenon` names what is known to be in the patch (a simulated lesion, for example), or is empty.
    """

    name: str
    split: str
    label: int
    patient: str
    mammogram: str
    box: Box
    image: bytes
    phenomenon: str = ""


@dataclass(frozen=True)
class Mammogram:
    """A full mammogram to add to a data set. `image` is an encoded grey image of height x width pixels, a JPEG or a
    PNG. `preview` is a small JPEG of it; if it is empty, the data set makes one from the image."""

    name: str
    patient: str
    side: str
    view: str
    height: int
    width: int
    image: bytes
    preview: bytes = b""


@dataclass(frozen=True)
class Lesion:
    """The known outline of a phenomenon in a mammogram: a closed polygon of (row, column) vertices in its pixels, and
    words that describe what is in it, such as `spiculated`."""

    mammogram: str
    phenomenon: str
    outline: Outline
    words: tuple[str, ...] = ()
