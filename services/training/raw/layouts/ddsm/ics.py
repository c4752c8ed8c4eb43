"""Reads the `.ics` file of a DDSM case: density, digitizer, and the size of each film."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from services.training.raw.layouts.ddsm.terms import DENSITIES, whole_number
from services.training.raw.report import ImportReport

LARGEST_ICS = 1 << 16
"""Bytes of an `.ics` that is read; real ones have about 600."""
VIEWS = ("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO")
MOST_PIXELS = 100_000_000
"""Pixels of the largest film. DDSM's have up to 30 million."""

BROKEN_FILM = "the .ics states no usable size of this film"
REPEATED_FILM = "the .ics states this film twice"
MICRONS_PER_MM = 1000


@dataclass(frozen=True)
class Film:
    """What an `.ics` says about one film: size in pixels, bits of a pixel, side of a pixel in mm (0 if unknown), and
    whether there is an overlay (None if it does not say)."""

    height: int
    width: int
    bits: int
    spacing: float
    overlay: bool | None


@dataclass(frozen=True)
class Ics:
    """What an `.ics` says about its case.

    `case` is its name as in names of images, `B_3024_1`, or empty. `density` is a to d, or empty. `digitizer` is in the
    words of the file.
    """

    case: str
    density: str
    digitizer: str
    films: Mapping[str, Film]


def parse_ics(content: bytes, where: str, report: ImportReport) -> Ics:
    """Read an `.ics`. Keys may be in lower case, lines end in LF, CR or both, and each value may be missing. A film
    without a usable size is reported as dropped."""
    values: dict[str, str] = {}
    films: dict[str, Film] = {}
    for line in content.decode("ascii", errors="replace").splitlines():
        key, *words = line.upper().split() or [""]
        if key not in VIEWS:
            values.setdefault(key, " ".join(words))
        elif key in films:
            report.drop(REPEATED_FILM, f"{where}: {key}")
        elif film := _film(words):
            films[key] = film
        else:
            report.drop(BROKEN_FILM, f"{where}: {key}")
    case = values.get("FILENAME", "").replace("-", "_")
    return Ics(case, DENSITIES.get(values.get("DENSITY", ""), ""), values.get("DIGITIZER", ""), films)


def _film(words: list[str]) -> Film | None:
    """A film from the words behind its view: `LINES 4696 PIXELS_PER_LINE 3024 … OVERLAY`."""
    stated = dict(pairwise(words))
    height = whole_number(stated.get("LINES", ""), 1, MOST_PIXELS)
    width = whole_number(stated.get("PIXELS_PER_LINE", ""), 1, MOST_PIXELS)
    if height is None or width is None or height * width > MOST_PIXELS:
        return None
    bits = whole_number(stated.get("BITS_PER_PIXEL", ""), 1, 16) or 16
    overlay = {"OVERLAY": True, "NON_OVERLAY": False}.get(words[-1])
    return Film(height, width, bits, _spacing(stated.get("RESOLUTION", "")), overlay)


def _spacing(microns: str) -> float:
    """`RESOLUTION` in mm. It may have decimals: 43.5 microns."""
    whole, _, decimals = microns.partition(".")
    number = whole_number(whole + decimals, 1, 10 ** min(8, 4 + len(decimals)))
    return number / 10 ** len(decimals) / MICRONS_PER_MM if number is not None else 0.0
