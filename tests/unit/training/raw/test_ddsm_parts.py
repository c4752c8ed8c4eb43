"""The files of a DDSM case: .ics, overlay and raw words, with their dirt."""

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.training.raw.layouts.ddsm.chain_code import Chain
from services.training.raw.layouts.ddsm.ics import BROKEN_FILM, REPEATED_FILM, Film, parse_ics
from services.training.raw.layouts.ddsm.overlay import (
    BROKEN_CHAIN,
    FEWER_OUTLINES,
    NO_END,
    SECOND_BOUNDARY,
    parse_overlay,
)
from services.training.raw.layouts.ddsm.raw_words import MORE_BITS, SWAPPED, read_words
from services.training.raw.layouts.ddsm.terms import descriptors
from services.training.raw.report import ImportReport
from tests.fakes.raw.ddsm import (
    DIAMOND,
    HEIGHT,
    OCTAGON,
    WIDTH,
    abnormality,
    chain,
    codes_of,
    grey,
    ics,
    overlay,
    words,
)


def test_an_ics_is_read() -> None:
    """Case, density, digitizer, and each film's size, bits, spacing and overlay."""
    read = parse_ics(ics("B_3024_1", overlays=("LEFT_CC",)).encode(), "B-3024-1.ics", ImportReport())
    assert (read.case, read.density, read.digitizer) == ("B_3024_1", "c", "LUMISYS LASER")
    assert read.films["LEFT_CC"] == Film(HEIGHT, WIDTH, 12, 0.05, True)
    assert read.films["RIGHT_MLO"] == Film(HEIGHT, WIDTH, 12, 0.05, False)
    assert len(read.films) == 4


def test_a_dirty_ics_is_read_as_far_as_it_goes() -> None:
    """Lower case, CR, blank lines, tabs, missing values, decimals; films without a size are dropped."""
    report = ImportReport()
    text = (
        "ICS_VERSION\r\rfilename\tb-3024-1\rpatient_age\rdensity 0\rdigitizer\r"
        "left_cc lines 80 pixels_per_line 60 bits_per_pixel 99 resolution 43.5 overlay\r"
        "LEFT_CC LINES 1 PIXELS_PER_LINE 1\rLEFT_MLO LINES PIXELS_PER_LINE\rRIGHT_CC LINES -4 PIXELS_PER_LINE 9\r"
        "RIGHT_MLO LINES 4696 PIXELS_PER_LINE 3024\r"
    )
    read = parse_ics(text.encode(), "x.ics", report)
    assert (read.case, read.density, read.digitizer) == ("B_3024_1", "", "")
    assert read.films == {"LEFT_CC": Film(80, 60, 16, 0.0435, True), "RIGHT_MLO": Film(4696, 3024, 16, 0.0, None)}
    assert report.dropped[BROKEN_FILM].examples == ["x.ics: LEFT_MLO", "x.ics: RIGHT_CC"]
    assert report.dropped[REPEATED_FILM].examples == ["x.ics: LEFT_CC"]


def test_an_overlay_is_read() -> None:
    """All keys, two types of lesion, and a core after the boundary."""
    types = ("CALCIFICATION TYPE ROUND_AND_REGULAR-LUCENT_CENTER DISTRIBUTION N/A", "MASS SHAPE OVAL MARGINS OBSCURED")
    report = ImportReport()
    text = overlay(abnormality(chain(OCTAGON), types=types, outlines=2, cores=(chain(DIAMOND),)))
    read = parse_overlay(text.encode(), "x.OVERLAY", report)
    assert read.complete
    assert report == ImportReport()
    found = read.abnormalities[0]
    assert [(lesion.kind, lesion.attributes) for lesion in found.types] == [
        ("calcification", {"type": "lucent centered, round and regular"}),
        ("mass", {"shape": "oval", "margins": "obscured"}),
    ]
    assert (found.assessment, found.subtlety, found.pathology) == (5, 4, "malignant")
    assert found.boundary == Chain(10, 20, codes_of(OCTAGON))
    assert found.cores == (Chain(30, 50, codes_of(DIAMOND)),)


def test_dirt_of_an_overlay_is_reported() -> None:
    """A chain over several lines is read; a missing #, no chain, a second boundary and a wrong total have reasons."""
    report = ImportReport()
    good = chain(OCTAGON)
    text = overlay(
        abnormality(good.replace(" ", "\n", 5), 1),
        abnormality(chain(OCTAGON, end=""), 2, outlines=4),
        abnormality("10 20 0 9 #", 3),
        abnormality(f"{good}\nBOUNDARY\n{good}", 4, outlines=2),
    )
    read = parse_overlay(text.lower().encode(), "x.OVERLAY", report)
    boundaries = [found.boundary for found in read.abnormalities]
    assert boundaries[0] == boundaries[1] == boundaries[3] == Chain(10, 20, codes_of(OCTAGON))
    assert boundaries[2] is None
    assert {reason: found.examples for reason, found in report.dropped.items()} == {
        BROKEN_CHAIN: ["x.OVERLAY:3"],
        SECOND_BOUNDARY: ["x.OVERLAY:4"],
    }
    assert {reason: found.examples for reason, found in report.mended.items()} == {
        NO_END: ["x.OVERLAY:2"],
        FEWER_OUTLINES: ["x.OVERLAY:2"],
    }


@pytest.mark.parametrize("bits", [12, 16])
def test_the_order_of_bytes_is_found(bits: int) -> None:
    """Words in both orders give the same film; the unusual order is noted."""
    film = grey(1, bits)
    assert (read_words(words(film), HEIGHT, WIDTH, bits, "x")[0] == film).all()
    swapped, notes = read_words(words(film, "<"), HEIGHT, WIDTH, bits, "x")
    assert (swapped == film).all()
    assert notes == (SWAPPED,)
    assert read_words(words(film), HEIGHT, WIDTH, bits, "x")[1] == ()


def test_words_beyond_the_stated_bits_are_noted() -> None:
    """A film of 16 bits whose .ics states 12 is read, and the report says so."""
    film = grey(1, 16)
    assert read_words(words(film), HEIGHT, WIDTH, 12, "x")[1] == (MORE_BITS,)


def test_words_of_another_size_are_refused() -> None:
    """Sizes are named, found and expected."""
    with pytest.raises(InvalidInput, match=r"film.LJPEG.1 has 9598 bytes; expected 9600 for 80 x 60"):
        read_words(words(grey(0))[:-2], HEIGHT, WIDTH, 12, "film.LJPEG.1")


def test_a_film_of_one_column_is_read() -> None:
    """Without neighbours in a row the usual order is taken."""
    film = np.array([[258], [772]], dtype=np.uint16)
    assert read_words(words(film), 2, 1, 16, "x")[0].tolist() == [[258], [772]]


def test_descriptors_have_a_stable_form() -> None:
    """Order and repetition do not matter, and words that state nothing are left out."""
    assert (
        descriptors("PLEOMORPHIC-AMORPHOUS")
        == descriptors("AMORPHOUS-PLEOMORPHIC-AMORPHOUS")
        == "amorphous, pleomorphic"
    )
    assert descriptors("ILL_DEFINED") == "ill defined"
    assert descriptors("LUCENT_CENTER") == descriptors("LUCENT_CENTERED") == "lucent centered"
    assert [descriptors(text) for text in ("N/A", "NA", "")] == ["", "", ""]
