"""Grey values of DDSM's digitizers become optical densities, and 16 bits with dense tissue bright."""

import numpy as np
import pytest

from services.training.raw.layouts.ddsm.optical_density import Digitizer, digitizer_of, optical_density, tissue_bright

# Grey values at the ends that ddsmraw2pnm states for each digitizer: densities beyond them are negative or above 4.
ENDS = {
    Digitizer.DBA: (4, 64064),
    Digitizer.HOWTEK_MGH: (0, 4006),
    Digitizer.LUMISYS: (61, 4096),
    Digitizer.HOWTEK_ISMD: (0, 4003),
}
# The regressions of the same scanners in DDSM's own software: offset and slope, of log10(grey) for the DBA.
OTHER_FITS = {
    Digitizer.DBA: (4.26700423014133, -0.90303289757264),
    Digitizer.HOWTEK_MGH: (3.78928997845071, -0.00094568009377),
    Digitizer.LUMISYS: (4.05977749300340, -0.00099080941710),
    Digitizer.HOWTEK_ISMD: (3.96604095240593, -0.00099055807612),
}


@pytest.mark.parametrize(("digitizer", "ends"), ENDS.items())
def test_densities_lie_between_0_and_4_up_to_the_published_ends(digitizer: Digitizer, ends: tuple[int, int]) -> None:
    """At the published ends of each scale the density is in range; beyond the bright end it is negative."""
    dark, clear = optical_density(np.array(ends), digitizer)
    assert 3.7 < dark <= 4.0
    assert 0 <= clear < 0.001
    beyond = optical_density(np.array([ends[1] + 2]), digitizer)
    assert beyond[0] < 0


@pytest.mark.parametrize(("digitizer", "fit"), OTHER_FITS.items())
def test_densities_agree_with_the_fits_of_the_software(digitizer: Digitizer, fit: tuple[float, float]) -> None:
    """Both published calibrations of a scanner differ by less than 0.2 over the densities of film."""
    grey = np.arange(600, 3500) if digitizer is not Digitizer.DBA else np.geomspace(40, 60000, 500)
    scale = np.log10(grey) if digitizer is Digitizer.DBA else grey
    assert np.abs(optical_density(grey, digitizer) - (fit[0] + fit[1] * scale)).max() < 0.2


def test_numbers_by_hand() -> None:
    """Some values, computed by hand from the published formulas."""
    assert optical_density(np.array([1000]), Digitizer.DBA)[0] == pytest.approx(1.679749, abs=1e-6)
    assert optical_density(np.array([2000]), Digitizer.HOWTEK_MGH)[0] == pytest.approx(1.89764)
    assert optical_density(np.array([2000]), Digitizer.LUMISYS)[0] == pytest.approx(2.078265, abs=1e-6)
    assert optical_density(np.array([2000]), Digitizer.HOWTEK_ISMD)[0] == pytest.approx(1.984925, abs=1e-6)


@pytest.mark.parametrize("digitizer", Digitizer)
def test_sixteen_bits_are_linear_in_density(digitizer: Digitizer) -> None:
    """Clear film is 65535, the darkest is 0, and between them a step of density is the same everywhere."""
    grey = np.arange(ENDS[digitizer][0], ENDS[digitizer][1], dtype=np.uint16)
    density, bright = optical_density(grey, digitizer), tissue_bright(grey, digitizer)
    inside = (density > 0.05) & (density < 3.6)
    assert np.abs(bright[inside] - 65535 * (3.6 - density[inside]) / 3.55).max() <= 0.5 + 1e-6
    assert (bright[density <= 0.05] == 65535).all()
    assert (bright[density >= 3.6] == 0).all()
    assert (np.diff(bright.astype(int)) >= 0).all()


def test_black_of_the_dba_is_black() -> None:
    """The logarithm of grey 0 is not taken."""
    assert tissue_bright(np.array([[0, 1]], dtype=np.uint16), Digitizer.DBA).tolist() == [[0, 0]]


def test_digitizers_by_words_and_hospital() -> None:
    """The words of the .ics and the letter of the case name the digitizer together."""
    assert digitizer_of("LUMISYS LASER", "B_3024") is Digitizer.LUMISYS
    assert digitizer_of("lumisys laser_densotometer", "C_0001") is Digitizer.LUMISYS
    assert digitizer_of("DBA", "A_1589") is Digitizer.DBA
    assert digitizer_of("HOWTEK", "A_1000") is Digitizer.HOWTEK_MGH
    assert digitizer_of("HOWTEK 43", "D_4070") is Digitizer.HOWTEK_ISMD
    assert [digitizer_of(*pair) for pair in (("HOWTEK", "B_1"), ("", "B_1"), ("LUMISYS", "A_1"))] == [None] * 3
