"""Templates of names of files."""

import time

import pytest

from services.common.errors import InvalidInput
from services.training.raw.layouts.folder.mapping import TEMPLATE_FIELDS
from services.training.raw.layouts.folder.name_template import NameTemplate


@pytest.mark.parametrize(
    ("template", "name", "fields"),
    [
        ("{patient}_{side}_{view}.png", "P1_L_CC.png", {"patient": "P1", "side": "L", "view": "CC"}),
        ("{patient}_{side}_{view}.png", "any/folder/P1_L_CC.png", {"patient": "P1", "side": "L", "view": "CC"}),
        ("{patient}/{exam}/{side}{_}", None, None),
        ("{patient}/{exam}/{side}.{_}", "x/P1/E2/L.tif", {"patient": "P1", "exam": "E2", "side": "L"}),
        ("P_{patient}_{side}_{view}.{_}", "P_00173_LEFT_CC.dcm", {"patient": "00173", "side": "LEFT", "view": "CC"}),
        ("{patient}_{_}_{view}.png", "P1_whatever_CC.png", {"patient": "P1", "view": "CC"}),
        ("{{{patient}}}.png", "{P1}.png", {"patient": "P1"}),
        ("{patient}", "P1.png", {"patient": "P1.png"}),
        ("{patient}_{side}.png", "P1.png", None),
        ("{patient}_{side}.png", "_L.png", None),
        ("{patient}_{side}.png", "P1_L.jpg", None),
        ("{patient}/{side}.png", "L.png", None),
        ("x{patient}.png", "P1.png", None),
    ],
)
def test_fields(template: str, name: str | None, fields: dict[str, str] | None) -> None:
    """A field ends where the text behind it occurs first; names that do not fit have no fields."""
    if name is None:
        with pytest.raises(InvalidInput, match="two fields without text between them"):
            NameTemplate.parse(template, TEMPLATE_FIELDS)
    else:
        assert NameTemplate.parse(template, TEMPLATE_FIELDS).read(name) == fields


@pytest.mark.parametrize(
    "template",
    [
        "",
        "none.png",
        "{patient",
        "{patient}_{patient}",
        "{name}",
        "{patient!r}",
        "{patient:>5}",
        "{0}",
        "x" * 201,
        "{}",
    ],
)
def test_templates_that_are_refused(template: str) -> None:
    """The error quotes the template, or says how long it is."""
    with pytest.raises(InvalidInput, match="template"):
        NameTemplate.parse(template, TEMPLATE_FIELDS)


def test_reading_takes_linear_time() -> None:
    """A name that nearly fits again and again does not take long."""
    template = NameTemplate.parse("{patient}_{side}_{view}.png", TEMPLATE_FIELDS)
    began = time.process_time()
    assert template.read("_a" * 500_000) is None
    assert template.read("a_" * 500_000) is None
    assert time.process_time() - began < 1
