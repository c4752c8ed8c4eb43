"""The layouts, by name. A new one is a file here and a line in this table."""

from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.training.raw.layout import Layout
from services.training.raw.layouts.dicom import PlainDicom
from services.training.raw.layouts.folder import PictureFolder

LAYOUTS: dict[str, type[Layout]] = {
    PlainDicom.name: PlainDicom,
    PictureFolder.name: PictureFolder,
}
"""All layouts, by name."""


def layout_named(name: str) -> Layout:
    """The layout of a name. InvalidInput if there is none."""
    if name not in LAYOUTS:
        raise InvalidInput(f"there is no layout {quoted(name)}; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]()
