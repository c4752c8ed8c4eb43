"""The fake sources of all layouts, by name: each has every trap that its layout is known to have."""

from collections.abc import Callable
from pathlib import Path

from tests.fakes.raw.cbis_ddsm import write_cbis_ddsm
from tests.fakes.raw.cdd_cesm import write_cdd_cesm
from tests.fakes.raw.cmmd import write_cmmd
from tests.fakes.raw.ddsm import write_ddsm
from tests.fakes.raw.embed import write_embed
from tests.fakes.raw.inbreast import write_inbreast
from tests.fakes.raw.picture_folder import write_mapped_folder, write_picture_folder
from tests.fakes.raw.plain_dicom import write_plain_dicom
from tests.fakes.raw.rsna import write_rsna
from tests.fakes.raw.sample import write_sample
from tests.fakes.raw.vindr import write_vindr

SOURCES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "ddsm": ("ddsm", write_ddsm),
    "cbis-ddsm": ("cbis-ddsm", write_cbis_ddsm),
    "vindr": ("vindr", write_vindr),
    "inbreast": ("inbreast", write_inbreast),
    "cmmd": ("cmmd", write_cmmd),
    "rsna": ("rsna", write_rsna),
    "embed": ("embed", write_embed),
    "cdd-cesm": ("cdd-cesm", write_cdd_cesm),
    "dicom": ("dicom", write_plain_dicom),
    "folder": ("folder", write_picture_folder),
    "mapped folder": ("folder", write_mapped_folder),
    "sample": ("sample", write_sample),
}
"""The layout of each source, and the function that writes it."""
