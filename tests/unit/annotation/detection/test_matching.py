"""Which known concepts a name contains."""

import pytest

from services.annotation.detection.matching import concepts_in

CONCEPTS = ("calcification", "mass", "pectoral_muscle", "spiculated mass", "vessel")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Spiculated masses", ["spiculated mass"]),
        ("mass, spiculated", ["spiculated mass"]),
        ("a mass next to vessels", ["mass", "vessel"]),
        ("edge of the pectoral muscle", ["pectoral_muscle"]),
        ("Calcifications; VESSEL", ["calcification", "vessel"]),
        ("massive calcium", []),
        ("", []),
    ],
)
def test_concepts_are_found_by_whole_words(text: str, expected: list[str]) -> None:
    """Capitals, the plural and the order of words do not matter; a part of a longer concept that is found does not
    count."""
    assert concepts_in(text, CONCEPTS) == expected
