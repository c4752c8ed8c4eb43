"""docs/import.md agrees with the code, and its example of a layout works."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidInput
from services.imaging.geometry import Region
from services.training.raw.case import Outcome
from services.training.raw.layout import Layout
from services.training.raw.layouts.folder.mapping import FolderMapping, LabelColumn
from services.training.raw.report import ImportReport
from services.training.raw.source.files import FolderFiles
from tests.fakes.raw.dicom import breast

PAGE = (Path(__file__).parents[4] / "docs" / "import.md").read_text()
TABLE = """image,woman,side,view,cancer,y,x,radius
a,W1,L,CC,1,30,20,10
b,W1,R,MLO,0,,,
c,W2,L,CC,maybe,,,
d,W2,R,CC,1,30,,10
none,W3,L,CC,1,1,1,1
"""


def example() -> dict[str, Any]:
    """The names that the example defines."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/import.md", "exec"), names)
    return names


def test_the_example_of_a_layout_works(tmp_path: Path) -> None:
    """It yields labels and circles, and reports what is wrong."""
    (tmp_path / "png").mkdir()
    for name in "abcd":
        Image.fromarray(breast(bits=16)).save(tmp_path / "png" / f"{name}.png")
    (tmp_path / "cancers.csv").write_text(TABLE)
    names, report, files = example(), ImportReport(), FolderFiles(tmp_path)
    layout: Layout = names["Circles"]()
    found = {mammogram.name: mammogram for mammogram in layout.scan(files, report)}
    outcomes = {name: mammogram.label and mammogram.label.outcome for name, mammogram in found.items()}
    assert outcomes == {"a": Outcome.MALIGNANT, "b": Outcome.NORMAL, "c": None, "d": Outcome.MALIGNANT}
    assert Region.of(found["a"].findings[0].outlines, 80, 60).area == pytest.approx(np.pi * 10.5**2, rel=0.05)
    assert found["d"].findings[0].outlines == ()
    assert {reason: one.examples for reason, one in report.dropped.items()} == {
        names["NO_FILE"]: ["cancers.csv:6"],
        names["BAD_CIRCLE"]: ["cancers.csv:5"],
    }
    assert {reason: one.count for reason, one in report.flagged.items()} == {names["BAD_CANCER"]: 1}
    np.testing.assert_array_equal(layout.read(files, found["a"]).grey, breast(bits=16))


def test_the_example_refuses_another_source(tmp_path: Path) -> None:
    """The error names the missing column."""
    (tmp_path / "cancers.csv").write_text("image,patient\n")
    with pytest.raises(InvalidInput, match="has no column woman, side, view, cancer"):
        list(example()["Circles"]().scan(FolderFiles(tmp_path), ImportReport()))


def test_every_field_of_the_mapping_is_described() -> None:
    """The page has a row for each field of layout.json, and names each column."""
    section = PAGE[PAGE.index("### layout.json") : PAGE.index("## Identity")]
    first_cells = re.findall(r"^\| (`.*?`) \|", section, flags=re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == set(FolderMapping.model_fields)
    assert [column for column in LabelColumn.__args__ if f"`{column}`" not in PAGE] == []
