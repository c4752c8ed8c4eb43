"""The layouts, by name. A new one is a file here and a line in this table."""

from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.training.raw.layout import Layout
from services.training.raw.layouts.cbis_ddsm import CbisDdsm
from services.training.raw.layouts.ddsm import Ddsm

LAYOUTS: dict[str, type[Layout]] = {
    Ddsm.name: Ddsm,
    CbisDdsm.name: CbisDdsm,
}
"""All layouts, by name."""


def layout_named(name: str) -> Layout:
    """The layout of a name. InvalidInput if there is none."""
    if name not in LAYOUTS:
        raise InvalidInput(f"there is no layout {quoted(name)}; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]()
