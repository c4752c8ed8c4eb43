"""Names of patches and exams."""

import pytest

from services.common.errors import InvalidInput
from services.imaging.patches import Box, exam_of, parse_patch_name

NAME = "benign_without_callback_01-B_3099_1.LEFT_CC.LJPEG.1-x630_y0_w620_h620_imgfrac0.25_stridefrac0.5.jpg"


def test_x_is_the_row_and_y_the_column() -> None:
    """The trap of the original's names: x630_y0 is row 630, column 0."""
    name = parse_patch_name(NAME)
    assert name.box == Box(row=630, column=0, height=620, width=620)
    assert name.mammogram == "benign_without_callback_01-B_3099_1.LEFT_CC.LJPEG.1"
    assert str(name) == NAME


@pytest.mark.parametrize(
    "bad",
    [
        "benign_01-B_3099_1.LEFT_CC.LJPEG.1.jpg",
        NAME.replace("_h620", "_h610"),
        NAME.replace("w620_h620", "w0_h0"),
        NAME.replace("x630", "x-3"),
        NAME + ".exe",
        NAME.replace("x630", "x9999999999"),
        NAME.replace("x630", f"x{'9' * 5000}"),
        NAME.replace("w620_h620", f"w{'9' * 5000}_h{'9' * 5000}"),
        NAME.replace("x630", "x٦٣٠"),
        NAME.replace("0.25", "0" * 5000),
    ],
)
def test_a_name_without_a_square_box_is_refused(bad: str) -> None:
    """InvalidInput names the file, also if a number is larger than a table can hold or Python reads."""
    with pytest.raises(InvalidInput, match="patch name") as refused:
        parse_patch_name(bad)
    assert len(str(refused.value)) < 500


def test_the_exam_stands_for_the_patient() -> None:
    """The exam key is letter and case; a name without one is refused."""
    assert exam_of("cancer_08-A_1403_1.RIGHT_MLO.LJPEG.1") == "A_1403"
    assert exam_of("benign_without_callback_01-C_0412_1.LEFT_CC.LJPEG.1") == "C_0412"
    with pytest.raises(InvalidInput, match="contains no exam"):
        exam_of("IMG_0001")
