"""Lossless JPEG of PVRG-JPEG is decoded exactly, or refused by name."""

import base64

import numpy as np
import pytest

from services.common.errors import InvalidInput
from services.training.raw.layouts.ddsm.ljpeg import decode_ljpeg, ljpeg_size
from tests.fakes.raw.ddsm import grey
from tests.fakes.raw.pvrg_jpeg import write_lossless

# What PVRG-JPEG wrote (`jpeg -iw 9 -ih 7 -k PREDICTOR -p BITS`) for the picture of `made`, by bits and predictor.
PVRG = {
    (12, 1): (
        "/9j/wwALDAAHAAkBAREA/8QAGgABAAMBAQEAAAAAAAAAAAAACwkKDAgGBP/aAAgBAQABAADP/wBnV1+iRJmw6YN8CbbWq/RcfjUu"
        "BoYi7uwL6D4v0NF1PQe1JrCOb6PkmJqBz3ZtfXhdWZZXVAc0x5dE5XLUu8jIYiNQCW76LiBwe9eG2Y9tSfmKzOY4zydHyWdlEzr0"
        "qh4/H//Z"
    ),
    (12, 2): (
        "/9j/wwALDAAHAAkBAREA/8QAGgAAAwEBAQEAAAAAAAAAAAAACgsMCQcIBf/aAAgBAQACAACf/U6bqYOeT2tvdOytQHWtR0N9qIzJ"
        "Qmr0vK8W4wfno1lGVpGbbik9DB6PsS0OokwF+OGRTU1RZbY55E8S/lMEIN6MYIzyqxoFz4Js83WpwH117aAIhE4wpftFis/bWv5y"
        "E1N7/wD/2Q=="
    ),
    (12, 3): (
        "/9j/wwALDAAHAAkBAREA/8QAGgAAAgMBAQAAAAAAAAAAAAAACQsHCgwIBv/aAAgBAQADAADP/qdDqAc5Pa2zpMrUB1rsr2j1Yxv4"
        "GrNs8kZ7dg/WdzBge3dfLL8n3CKYxIjHfnNT9qSUW5J9MsPLnvP1S1oyScJprCyoSi5NaNkpKbexOqVuCrc04xWk5FjjVT3Flwl/"
        "SjF//9k="
    ),
    (12, 5): (
        "/9j/wwALDAAHAAkBAREA/8QAHAAAAwEAAgMAAAAAAAAAAAAACgsMCQEHBAUI/9oACAEBAAUAAJ/8nV6+CRpm4dWDeAzbdaswJzTa"
        "pg/NJ6Em/S+TB+aB+9zbG8PaxZcp/wBabE9ildSlz6QhmSNvA9eM8iB5Hu7xSynt4noxDOgXDysPkWZlLZ72ZREn4nGbGck7M651"
        "/dViVl9//9k="
    ),
    (12, 6): (
        "/9j/wwALDAAHAAkBAREA/8QAGgAAAwEBAQEAAAAAAAAAAAAACgsMCQcIBv/aAAgBAQAGAACf/wAdGTQmXQm4o3v1bQ51q7gRQkys"
        "J5enlet8ZgwfllPK2jRbjJ9zCgj3m2JYlODJ87ZE1SUVu2aJvPIv+TAuhEIpBJ5csb5PBc20N2lOM+vXxQDEOYETjdpIrPubYTuW"
        "mpfDLr//2Q=="
    ),
    (12, 7): (
        "/9j/wwALDAAHAAkBAREA/8QAGwAAAwEAAwEAAAAAAAAAAAAACQoLDAQHCAb/2gAIAQEABwAAz/4dKTSmXYVcVb36uoda10DSKPom"
        "mDD3UvLPlnqD8JFMggNTguFaeO8BUxJCaoMXetgefMPala0cPIwOW30+AJmXxKyzfAiLh+AXyZhPNreDXRc75HGZwFM2/cWmm9CP"
        "e8P/2Q=="
    ),
    (16, 1): (
        "/9j/wwALEAAHAAkBAREA/8QAGwABAQEBAAMBAAAAAAAAAAAADw4NDAkKCxD/2gAIAQEAAQAA/V+uHwmeZJ3CXR3cetvXGzAFLOi9"
        "KBdndCbPxiqliGTjpEAPiHHJsSbwgy/dbzoulc3wrU4Z5erWujR5j7js+Ek3o3cANlokQIPmQ0HlPYP2AqqBZAAaftBdOBnnGJ0X"
        "WJYP6mTJwQkbSHg4+RYBVV4UuZQUk3JSzdIq0Yf/2Q=="
    ),
    (16, 6): (
        "/9j/wwALEAAHAAkBAREA/8QAGgABAQEBAAMAAAAAAAAAAAAADw4NDAMLEP/aAAgBAQAGAAD7P1mdx7uFmKc1GpD0LCCGsApYF0ig"
        "VSlpsne7hsSRTaHWrB8ToaqqtTPHPM9F4s7tV/3hCDPILAK1ET4hxyxQOtlKYlfVsCRB2zFftyQ9yMOtTXHStlr64C6cIF1k5Kls"
        "7fOye3cAu4nnHHzSxrUJV015kBvTvhdgWwKd/9k="
    ),
    (16, 7): (
        "/9j/wwALEAAHAAkBAREA/8QAGgABAQEBAQEBAAAAAAAAAAAADw4NDAoLEP/aAAgBAQAHAAD9n6zO493CzFOajUh6FhBDWAUsO3uf"
        "sIPmKBuMT3CH1Ls47g+IhTOpZs2ccc/WBro7XnACohnljuVzHddQu4ZfuAPvKCJMWCRB2Jy80GEF6nZS3ptJ47YsGF04xJ/aGqrp"
        "O7/GRS60dxs/hHHyWAqgdejhMUh5scIdCohS7//Z"
    ),
}


def made(bits: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """A picture of 7 x 9 in which each predictor errs, with differences of all sizes."""
    rows, columns = np.mgrid[0:7, 0:9]
    values = (columns**2 * 37 + rows**2 * 101 + columns * rows * 53) * (17 if bits == 12 else 331)
    return (values % (1 << bits)).astype(np.uint16)


@pytest.mark.parametrize(("bits", "predictor"), PVRG)
def test_files_of_pvrg_jpeg_are_decoded_exactly(bits: int, predictor: int) -> None:
    """Its first row, which the standard predicts otherwise, comes out right too."""
    content = base64.b64decode(PVRG[bits, predictor])
    assert ljpeg_size(content, "film.LJPEG") == (7, 9)
    assert (decode_ljpeg(content, "film.LJPEG") == made(bits)).all()


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (2, 2), (80, 60)])
def test_all_predictors_and_shapes_are_decoded(predictor: int, shape: tuple[int, int]) -> None:
    """Films of one row, one column and one pixel, too."""
    film = np.ascontiguousarray(grey(3, 16)[: shape[0], : shape[1]])
    assert (decode_ljpeg(write_lossless(film, 16, predictor), "film.LJPEG") == film).all()


def test_our_writer_writes_what_pvrg_jpeg_means() -> None:
    """The writer of the tests gives the same differences: its files and those of PVRG-JPEG decode alike."""
    for bits, predictor in PVRG:
        content = write_lossless(made(bits), bits, predictor)
        assert (decode_ljpeg(content, "film.LJPEG") == made(bits)).all()


def test_other_jpeg_is_refused_by_name() -> None:
    """What cannot be decoded names the file and the other way."""
    whole = write_lossless(grey(0), 12, 7)
    cut, text, baseline = whole[: len(whole) // 2], b"P5 60 80", whole.replace(b"\xff\xc3", b"\xff\xc0")
    huge = whole.replace(bytes([12, 0, 80, 0, 60]), bytes([12, 255, 255, 255, 255]))
    for content, reason in ((cut, "incomplete"), (text, "no JPEG"), (baseline, "no lossless"), (huge, "65535 x 65535")):
        with pytest.raises(InvalidInput, match=f"film.LJPEG .*{reason}"):
            decode_ljpeg(content, "film.LJPEG")
    with pytest.raises(InvalidInput, match=r"jpeg -d -s.*docs/import.md"):
        decode_ljpeg(text, "film.LJPEG")


def test_damage_that_leaves_the_range_is_refused() -> None:
    """GDCM decodes through damaged data; sums of differences beyond 12 bits show it."""
    film = np.full((40, 40), 4000, dtype=np.uint16)
    content = bytearray(write_lossless(film, 12, 1))
    start = content.index(b"\xff\xda") + 10
    content[start : start + 40] = b"\x55" * 40
    with pytest.raises(InvalidInput, match=r"film.LJPEG is damaged|film.LJPEG cannot"):
        decode_ljpeg(bytes(content), "film.LJPEG")
