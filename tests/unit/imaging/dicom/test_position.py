"""Side and view from whichever attribute states them."""

from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from services.imaging.dicom import position as dicom_position
from services.imaging.dicom.position import MODIFIER_CODES, VIEW_CODES, Position, position_of
from tests.fakes.raw.dicom import coded, mammogram


def frame_laterality(side: str) -> Sequence:
    """Shared functional groups that state a side."""
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = Sequence([anatomy])
    return Sequence([group])


def position(**attributes: Any) -> Position:
    """The position of a mammogram without side and view, with some attributes."""
    return position_of(mammogram(**{"ImageLaterality": None, "ViewPosition": None, **attributes}))


@pytest.mark.parametrize(
    ("attributes", "side", "notes"),
    [
        ({}, "", ()),
        ({"ImageLaterality": "R"}, "RIGHT", ()),
        ({"ImageLaterality": "B"}, "", ()),
        ({"Laterality": "L"}, "LEFT", ()),
        ({"SharedFunctionalGroupsSequence": frame_laterality("R")}, "RIGHT", ()),
        ({"ImageLaterality": "L", "Laterality": "R"}, "LEFT", (dicom_position.SIDES_DIFFER,)),
        ({"PatientID": "Mass-Test_P_00173_LEFT_CC"}, "LEFT", ()),
        ({"SeriesDescription": "R-CC"}, "RIGHT", (dicom_position.SIDE_FROM_WORDS,)),
        ({"ProtocolName": "Screening LMLO"}, "LEFT", (dicom_position.SIDE_FROM_WORDS,)),
        ({"SeriesDescription": "L and R"}, "", ()),
        ({"ImageLaterality": "L", "SeriesDescription": "RCC"}, "LEFT", ()),
    ],
)
def test_side(attributes: dict[str, Any], side: str, notes: tuple[str, ...]) -> None:
    """The first attribute in the documented order decides."""
    found = position(**attributes)
    assert found.side == side
    assert tuple(note for note in found.notes if "side" in note) == notes


@pytest.mark.parametrize(
    ("attributes", "view", "notes"),
    [
        ({}, "", ()),
        ({"ViewPosition": "MLO"}, "MLO", ()),
        ({"ViewPosition": "XCCL"}, "XCCL", ()),
        ({"ViewPosition": "DOE JANE"}, "", ()),
        ({"ViewCodeSequence": Sequence([coded("399162004")])}, "CC", ()),
        ({"ViewCodeSequence": Sequence([coded("R-10226")])}, "MLO", ()),
        (
            {"ViewPosition": "CC", "ViewCodeSequence": Sequence([coded("R-10226")])},
            "CC",
            (dicom_position.VIEWS_DIFFER,),
        ),
        ({"PatientOrientation": "MLO"}, "MLO", ()),
        ({"PatientID": "Calc-Test_P_00005_RIGHT_MLO"}, "MLO", ()),
        ({"PatientOrientation": ["P", "L"]}, "CC", (dicom_position.VIEW_FROM_ORIENTATION,)),
        ({"PatientOrientation": ["A", "FR"]}, "MLO", (dicom_position.VIEW_FROM_ORIENTATION,)),
        ({"PatientOrientation": ["A", "F"]}, "", ()),
        ({"PatientOrientation": ["L", "F"]}, "", ()),
        ({"SeriesDescription": "LMLO"}, "MLO", (dicom_position.VIEW_FROM_WORDS,)),
        ({"SeriesDescription": "CC and MLO"}, "", ()),
    ],
)
def test_view(attributes: dict[str, Any], view: str, notes: tuple[str, ...]) -> None:
    """The first attribute in the documented order decides."""
    found = position(**attributes)
    assert found.view == view
    assert tuple(note for note in found.notes if "view" in note) == notes


def test_spot_and_magnification_views_are_noted() -> None:
    """They show a part of the breast at another scale."""
    for code in sorted(MODIFIER_CODES):
        view = coded("399162004", ViewModifierCodeSequence=Sequence([coded(code)]))
        assert position(ViewCodeSequence=Sequence([view])).notes == (dicom_position.MAGNIFIED,)


def test_view_codes_are_those_of_the_standard() -> None:
    """All projections of CID 4014 are known under their SNOMED CT codes, and codes of modifiers are of CID 4015."""
    projections = {getattr(codes.CID4014, name).value for name in codes.CID4014.dir()}
    specimen = "127457009"
    assert projections - {specimen} == {code for code in VIEW_CODES if code.isdigit()}
    modifiers = {getattr(codes.CID4015, name).value for name in ("Magnification", "SpotCompression")}
    assert modifiers == {code for code in MODIFIER_CODES if code.isdigit()}


def test_older_view_codes_mean_the_same() -> None:
    """pydicom's table from SNOMED RT to SNOMED CT agrees with ours."""
    from pydicom.sr._snomed_dict import mapping

    for code in [*VIEW_CODES, *MODIFIER_CODES]:
        if not code.isdigit():
            newer = mapping["SRT"][code]
            assert VIEW_CODES.get(newer) == VIEW_CODES.get(code)
            assert (newer in MODIFIER_CODES) == (code in MODIFIER_CODES)
