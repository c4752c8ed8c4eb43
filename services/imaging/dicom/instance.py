"""The SOPInstanceUID of a DICOM file: to verify that a file is the one that was requested."""

import io

from pydicom.filereader import _read_file_meta_info, read_partial, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.common.errors import InvalidInput
from services.imaging.dicom.file import refuse_bombs
from services.imaging.dicom.identity import silence_pydicom

SOP_INSTANCE_UID = 0x00080018


def instance_uid(content: bytes, where: str, complete: bool = True) -> str:
    """The SOPInstanceUID of a file, or of the beginning of one if it is not `complete`. Empty if it has none.

    The beginning of a deflated file cannot be parsed; its MediaStorageSOPInstanceUID takes the place. InvalidInput if
    the content is not DICOM.
    """
    silence_pydicom()
    try:
        stream = io.BytesIO(content)
        read_preamble(stream, False)
        meta = _read_file_meta_info(stream)
        if not complete and meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return str(meta.get("MediaStorageSOPInstanceUID", ""))
        refuse_bombs(content, where)
        dataset = read_partial(io.BytesIO(content), _is_behind, specific_tags=[SOP_INSTANCE_UID])
        return str(dataset.get("SOPInstanceUID", ""))
    except InvalidInput:
        raise
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise InvalidInput(f"{where} is not DICOM ({type(error).__name__})") from None


def _is_behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > SOP_INSTANCE_UID
