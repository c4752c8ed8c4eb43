"""The mammogram that is explained: its pixels, and what its file says without naming a patient."""

from dataclasses import dataclass

from services.imaging.blocks import Grey
from services.imaging.pixels import DICOM_MARK, Pixels, decode_pixels, eight_bits

BURNED_IN = "the image contains text, or its file says so: it may name a patient"
WHERE = "the mammogram"


@dataclass(frozen=True)
class Mammogram:
    """A decoded mammogram. `side` and `view` are as in DICOM (LEFT, MLO), or empty. `notes` are doubts about it."""

    pixels: Pixels
    side: str
    view: str
    notes: tuple[str, ...]

    @property
    def shown(self) -> Grey:
        """The mammogram in 8 bits, as its file wants it shown."""
        return eight_bits(self.pixels)


def read_mammogram(content: bytes) -> Mammogram:
    """Decode a DICOM, PNG or JPEG file. InvalidInput says what is wrong with it."""
    pixels, side, view = decode_pixels(content, WHERE), "", ""
    notes = [*pixels.notes, *([BURNED_IN] if pixels.burned_in else [])]
    if content[DICOM_MARK] == b"DICM":
        from services.imaging.dicom.file import read_header  # pydicom is only loaded for DICOM

        header = read_header(content, WHERE)
        side, view = header.side, header.view
        notes += header.position_notes
    return Mammogram(pixels, side, view, tuple(dict.fromkeys(notes)))
