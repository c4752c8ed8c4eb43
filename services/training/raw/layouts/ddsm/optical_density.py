"""From the grey values of DDSM's four digitizers to optical density, and from that to 16 bits that are comparable
between them."""

from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

LEAST_DENSITY, LARGEST_DENSITY = 0.05, 3.60
"""The optical densities at the bright and the dark end of the 16 bits, as in DDSM's own software
(optical_density.h by M. Heath, University of South Florida). Film is not clearer or darker; what is outside is
clipped."""
BRIGHTEST = 65535


class Digitizer(StrEnum):
    """A film scanner of DDSM, named as its software names them."""

    DBA = "dba"
    HOWTEK_MGH = "howtek-mgh"
    LUMISYS = "lumisys"
    HOWTEK_ISMD = "howtek-ismd"


_HOSPITALS = {"A": "mgh", "B": "wake forest", "C": "wake forest", "D": "ismd"}
"""The hospital that digitized a case, by the first letter of the case. Each has its own scanners."""


def digitizer_of(words: str, case: str) -> Digitizer | None:
    """The digitizer from `DIGITIZER` of an `.ics` (`LUMISYS LASER`, `HOWTEK`, `DBA`) and the name of the case
    (`B_3024_1`). None if they do not determine it."""
    hospital, named = _HOSPITALS.get(case[:1].upper(), ""), words.upper()
    if "LUMISYS" in named and hospital in ("wake forest", ""):
        return Digitizer.LUMISYS
    if "DBA" in named and hospital in ("mgh", ""):
        return Digitizer.DBA
    if "HOWTEK" in named:
        return {"mgh": Digitizer.HOWTEK_MGH, "ismd": Digitizer.HOWTEK_ISMD}.get(hospital)
    return None


def optical_density(grey: NDArray[np.generic], digitizer: Digitizer) -> NDArray[np.float64]:
    """The optical density of the grey values of a digitizer, of any shape.

    The calibrations that DDSM publishes for each scanner (eng.usf.edu/cvprg/Mammography/DDSM/calibrate, quoted in
    ddsmraw2pnm by C. Rose and in fjeg/ddsm_tools). Grey 0 of the DBA, whose scale is logarithmic, counts as 1.
    """
    values = np.asarray(grey, dtype=np.float64)
    match digitizer:
        case Digitizer.DBA:
            return (np.log10(np.maximum(values, 1.0)) - 4.80662) / -1.07553
        case Digitizer.HOWTEK_MGH:
            return 3.789 - 0.00094568 * values
        case Digitizer.LUMISYS:
            return (values - 4096.99) / -1009.01
        case Digitizer.HOWTEK_ISMD:
            return 3.96604095240593 - 0.00099055807612 * values


def tissue_bright(grey: NDArray[np.uint16], digitizer: Digitizer) -> NDArray[np.uint16]:
    """Grey values as 16 bits that are linear in optical density: 65535 at 0.05, where dense tissue is, and 0 at
    3.60."""
    return _table(digitizer)[grey]


@cache
def _table(digitizer: Digitizer) -> NDArray[np.uint16]:
    density = optical_density(np.arange(BRIGHTEST + 1), digitizer)
    share = (LARGEST_DENSITY - np.clip(density, LEAST_DENSITY, LARGEST_DENSITY)) / (LARGEST_DENSITY - LEAST_DENSITY)
    return np.rint(share * BRIGHTEST).astype(np.uint16)
