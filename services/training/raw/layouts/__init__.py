"""The layouts, by name. A new one is a file here and a line in this table."""

from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.training.raw.layout import Layout
from services.training.raw.layouts.cbis_ddsm.layout import CbisDdsm
from services.training.raw.layouts.cdd_cesm.layout import CddCesm
from services.training.raw.layouts.cmmd.layout import CMMD
from services.training.raw.layouts.ddsm.layout import Ddsm
from services.training.raw.layouts.dicom import PlainDicom
from services.training.raw.layouts.embed.layout import Embed
from services.training.raw.layouts.folder.layout import PictureFolder
from services.training.raw.layouts.inbreast import INbreast
from services.training.raw.layouts.rsna import RSNA
from services.training.raw.layouts.sample.layout import Sample
from services.training.raw.layouts.vindr import VinDr

LAYOUTS: dict[str, type[Layout]] = {
    Ddsm.name: Ddsm,
    CbisDdsm.name: CbisDdsm,
    VinDr.name: VinDr,
    INbreast.name: INbreast,
    CMMD.name: CMMD,
    RSNA.name: RSNA,
    Embed.name: Embed,
    CddCesm.name: CddCesm,
    PlainDicom.name: PlainDicom,
    PictureFolder.name: PictureFolder,
    Sample.name: Sample,
}
"""All layouts, by name."""


def layout_named(name: str) -> Layout:
    """The layout of a name. InvalidInput if there is none."""
    if name not in LAYOUTS:
        raise InvalidInput(f"there is no layout {quoted(name)}; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]()
