"""A small DDSM: cases of all types of volumes, in all forms of files, with the dirt that users of DDSM report."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.raw.pvrg_jpeg import write_lossless

HEIGHT, WIDTH = 80, 60
VIEWS = ("LEFT_CC", "LEFT_MLO", "RIGHT_CC", "RIGHT_MLO")

Polygon = tuple[tuple[float, float], ...]
"""(row, column) vertices, whose edges go in the eight directions of a chain code."""

OCTAGON: Polygon = ((20, 10), (30, 20), (30, 30), (20, 40), (15, 40), (5, 30), (5, 20), (15, 10))
DIAMOND: Polygon = ((50, 30), (40, 40), (30, 30), (40, 20))
BOX: Polygon = ((45, 5), (45, 25), (70, 25), (70, 5))
INNER: Polygon = ((15, 20), (15, 25), (20, 25), (20, 20))
BEYOND: Polygon = ((10, 50), (10, 70), (25, 70), (25, 50))
"""Leaves the image on the right."""
OUTSIDE: Polygon = ((10, 65), (10, 70), (20, 70), (20, 65))
TO_THE_EDGES: Polygon = ((60, 40), (60, 59), (79, 59), (79, 40))
"""Touches the last row and column."""

_STEPS = {(-1, 0): 0, (-1, 1): 1, (0, 1): 2, (1, 1): 3, (1, 0): 4, (1, -1): 5, (0, -1): 6, (-1, -1): 7}


def codes_of(polygon: Sequence[tuple[float, float]]) -> str:
    """The codes of a path along a polygon, from its first vertex back to it."""
    codes = ""
    for (row, column), (next_row, next_column) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        down, right = int(next_row - row), int(next_column - column)
        length = max(abs(down), abs(right))
        codes += str(_STEPS[down // length, right // length]) * length
    return codes


def chain(polygon: Polygon, first: int = 0, before: str = "", after: str = "", end: str = " #") -> str:
    """A line of an overlay. `first` is the number of the first row; `before` and `after` are codes around the loop."""
    row, column = polygon[0]
    codes = before + codes_of(polygon) + after
    return f"{int(column) + first} {int(row) + first} {' '.join(codes)}{end}"


def abnormality(
    boundary: str,
    number: int = 1,
    types: Sequence[str] = ("MASS SHAPE IRREGULAR-LOBULATED MARGINS ILL_DEFINED",),
    pathology: str = "MALIGNANT",
    outlines: int = 1,
    cores: Sequence[str] = (),
) -> str:
    """An abnormality as an overlay describes it."""
    lines = [f"ABNORMALITY {number}", *(f"LESION_TYPE {words}" for words in types)]
    lines += ["ASSESSMENT 5", "SUBTLETY 4", f"PATHOLOGY {pathology}", f"TOTAL_OUTLINES {outlines}"]
    lines += ["BOUNDARY", boundary] if boundary else []
    for core in cores:
        lines += ["\tCORE", core]
    return "\n".join(lines) + "\n"


def overlay(*abnormalities: str, total: int | None = None) -> str:
    """An overlay file."""
    return f"TOTAL_ABNORMALITIES {len(abnormalities) if total is None else total}\n{''.join(abnormalities)}"


def ics(
    case: str, overlays: Sequence[str] = (), density: str = "3", digitizer: str = "LUMISYS LASER", bits: int = 12
) -> str:
    """An `.ics` of a case such as B_3024_1, with overlays in some views."""
    films = [
        f"{view} LINES {HEIGHT} PIXELS_PER_LINE {WIDTH} BITS_PER_PIXEL {bits} RESOLUTION 50 "
        f"{'OVERLAY' if view in overlays else 'NON_OVERLAY'}"
        for view in VIEWS
    ]
    name = case.replace("_", "-")
    head = [f"ics_version 1.0\nfilename {name}\nDATE_OF_STUDY 2 7 1995\nPATIENT_AGE 42\nFILM \nFILM_TYPE REGULAR"]
    head += [f"DENSITY {density}", "DATE_DIGITIZED 7 22 1997", f"DIGITIZER {digitizer}", "SEQUENCE"]
    return "\n".join([*head, *films]) + "\n"


def grey(seed: int, bits: int = 12) -> NDArray[np.uint16]:
    """A smooth film of HEIGHT x WIDTH."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    share = 0.5 + 0.4 * np.sin((rows + seed) / 11) * np.cos((columns - seed) / 7)
    return np.rint(share * ((1 << bits) - 1)).astype(np.uint16)


def words(film: NDArray[np.uint16], order: str = ">") -> bytes:
    """Raw 16-bit words, high byte first."""
    return film.astype(f"{order}u2").tobytes()


def encoded(film: NDArray[np.generic], form: str) -> bytes:
    """A film as a picture: PNG, JPEG, PPM (which writes PGM)."""
    content = io.BytesIO()
    Image.fromarray(film).save(content, form)
    return content.getvalue()


def write_ddsm(root: Path) -> None:
    """Write the source."""
    _cancer(root / "cases/cancers/cancer_01/case3024")
    _dirty_outlines(root / "cases/benigns/benign_04/case0334")
    _two_types(root / "cases/cancers/cancer_10/case1589")
    _counted_from_1(root / "cases/benigns/benign_13/case4070")
    _normal(root / "cases/normals/normal_02/case0020")
    _without_callback(root / "cases/benign_without_callbacks/benign_without_callback_01/case0241")
    _converted(root / "converted")
    (root / "cases/cancers/cancer_01/case3024/TAPE_B_3024_1.COMB.16_PGM").write_bytes(b"P5 preview")
    (root / "cases/thumbnail.png").write_bytes(encoded(np.zeros((4, 4), dtype=np.uint8), "PNG"))


def _cancer(folder: Path) -> None:
    """A cancer in the left breast, outlined in one view; the other view's overlay is missing. Raw words."""
    folder.mkdir(parents=True)
    (folder / "B-3024-1.ics").write_text(ics("B_3024_1", overlays=("LEFT_CC", "LEFT_MLO")))
    for seed, view in enumerate(VIEWS):
        order = "<" if view == "RIGHT_MLO" else ">"  # one film was converted on another machine
        (folder / f"B_3024_1.{view}.LJPEG.1").write_bytes(words(grey(seed), order))
    cores = (chain(INNER),)
    (folder / "B_3024_1.LEFT_CC.OVERLAY").write_text(overlay(abnormality(chain(OCTAGON), outlines=2, cores=cores)))
    stray = folder / "A_1585_1.RIGHT_MLO.OVERLAY"  # of another case
    stray.write_text(overlay(abnormality(chain(DIAMOND))))
    (folder / "B_3024_1.LEFT_CC.LJPEG.1.jpg").write_bytes(encoded((grey(0) >> 4).astype(np.uint8), "JPEG"))


def _dirty_outlines(folder: Path) -> None:
    """Outlines with all their dirt, in 16-bit PGM and PNG. The `.ics` is in lower case with CRLF and blank lines."""
    folder.mkdir(parents=True)
    text = ics("C_0334_1", overlays=("LEFT_CC", "LEFT_MLO", "RIGHT_CC"), density="")
    text = text.lower().replace("patient_age 42", "patient_age").replace("\n", "\r\n\r\n")
    (folder / "C-0334-1.ics").write_bytes(text.encode())
    for seed, view in enumerate(VIEWS[:3]):  # the fourth film is missing
        form, suffix = ("PPM", "pgm") if seed == 0 else ("PNG", "png")
        (folder / f"C_0334_1.{view}.{suffix}").write_bytes(encoded(grey(seed), form))
    benign = {"pathology": "BENIGN"}
    passing, early = codes_of(OCTAGON)[:7], "2460"  # a square of one pixel
    (folder / "C_0334_1.LEFT_CC.OVERLAY").write_text(
        overlay(
            abnormality(chain(OCTAGON, after=passing), 1, outlines=3, **benign),
            abnormality(chain(BOX, before=early), 2, **benign),
            abnormality(chain(BEYOND), 3, **benign),
            total=3,
        )
    )
    cut = chain(DIAMOND)[: -len(" 1 1 1 #")]  # ends three steps early
    (folder / "C_0334_1.LEFT_MLO.OVERLAY").write_bytes(
        overlay(
            abnormality(chain(OCTAGON, end=""), 1, **benign),
            abnormality(cut + " #", 2, **benign),
            abnormality("not a chain #", 3, **benign),
            abnormality(chain(OUTSIDE), 4, **benign),
            total=6,
        )
        .replace("\n", "\r\n")
        .encode()
    )
    (folder / "C_0334_1.RIGHT_CC.OVERLAY").write_text(overlay(abnormality(chain(BOX), pathology="UNPROVEN")))
    (folder.parent / "case0335").mkdir()
    (folder.parent / "case0335" / "C_0334_1.RIGHT_CC.OVERLAY").write_text(overlay(abnormality(chain(DIAMOND))))


def _two_types(folder: Path) -> None:
    """A mass with calcifications and a benign finding, in an overlay that the `.ics` does not state. DBA."""
    folder.mkdir(parents=True)
    (folder / "A-1589-1.ics").write_text(ics("A_1589_1", digitizer="DBA", bits=16))
    (folder / "A_1589_1.LEFT_CC.LJPEG").write_bytes(write_lossless(grey(5, 16), 16, predictor=7))
    (folder / "A_1589_1.LEFT_MLO.LJPEG").write_bytes(write_lossless(grey(6, 16), 16, predictor=1))
    (folder / "A_1589_1.RIGHT_CC.LJPEG").write_bytes(write_lossless(grey(7, 16)[:-1], 16, predictor=1))  # another size
    types = (
        "CALCIFICATION TYPE PLEOMORPHIC-FINE_LINEAR_BRANCHING DISTRIBUTION CLUSTERED",
        "MASS SHAPE ARCHITECTURAL_DISTORTION MARGINS N/A",
    )
    other = ("OTHER",)
    (folder / "A_1589_1.LEFT_CC.OVERLAY").write_text(
        overlay(
            abnormality(chain(OCTAGON), 1, types=types),
            abnormality(chain(BOX), 2, types=other, pathology="BENIGN"),
        )
    )


def _counted_from_1(folder: Path) -> None:
    """Outlines whose numbers count from 1. HOWTEK of the third hospital; the `.ics` is broken for one film."""
    folder.mkdir(parents=True)
    text = ics("D_4070_1", overlays=("RIGHT_MLO",), density="4", digitizer="HOWTEK")
    text = text.replace(f"LEFT_CC LINES {HEIGHT}", "LEFT_CC LINES 99999999")
    (folder / "D-4070-1.ics").write_text(text)
    for seed, view in enumerate(VIEWS):
        (folder / f"D_4070_1.{view}.LJPEG.1").write_bytes(words(grey(seed)))
    (folder / "D_4070_1.RIGHT_MLO.OVERLAY").write_text(
        overlay(
            abnormality(chain(TO_THE_EDGES, first=1), 1, pathology="BENIGN"),
            abnormality(chain(DIAMOND, first=1), 2, pathology="BENIGN"),
        )
    )


def _normal(folder: Path) -> None:
    """A normal case: lossless JPEG, no overlay. Its number is also that of a converted film of another volume."""
    folder.mkdir(parents=True)
    (folder / "C-0020-1.ics").write_text(ics("C_0020_1", density="1"))
    for seed, view in enumerate(VIEWS):
        (folder / f"C_0020_1.{view}.LJPEG").write_bytes(write_lossless(grey(seed), 12, predictor=4))


def _without_callback(folder: Path) -> None:
    """A benign finding without callback, and an overlay that is missing."""
    folder.mkdir(parents=True)
    (folder / "C-0241-1.ics").write_text(ics("C_0241_1", overlays=("LEFT_CC", "RIGHT_CC"), density="2"))
    for seed, view in enumerate(VIEWS):
        (folder / f"C_0241_1.{view}.LJPEG.1.png").write_bytes(encoded((grey(seed) >> 4).astype(np.uint8), "PNG"))
    types = ("CALCIFICATION TYPE LUCENT_CENTER DISTRIBUTION N/A",)
    content = overlay(abnormality(chain(DIAMOND), types=types, pathology="BENIGN_WITHOUT_CALLBACK"))
    (folder / "C_0241_1.LEFT_CC.OVERLAY").write_text(content)


def _converted(folder: Path) -> None:
    """Films that were converted to JPEG, named as in ddsm-visual-primitives, without any `.ics`."""
    folder.mkdir(parents=True)
    names = (
        "cancer_05-B_3091_1.LEFT_CC",
        "benign_01-C_0020_1.LEFT_MLO",
        "benign_without_callback_02-A_1632_1.RIGHT_CC",
        "normal_11-D_4500_1.RIGHT_MLO",
    )
    for seed, name in enumerate(names):
        (folder / f"{name}.LJPEG.1.jpg").write_bytes(encoded((grey(seed) >> 4).astype(np.uint8), "JPEG"))
