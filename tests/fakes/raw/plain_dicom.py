"""A folder of DICOM files with a table of labels, and everything that can be wrong with both."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import JPEGLosslessSV1, RLELossless

from tests.fakes.raw.dicom import SECONDARY_CAPTURE, TOMOSYNTHESIS, breast, file_bytes, mammogram

BOX = (10, 5, 40, 30)
"""Top, left, bottom and right of the box of file 2/c, in its 80 x 60 pixels."""
COLUMNS = "file,sop_uid,patient,side,view,outcome,unit,source,assessment,density,split,kind,top,left,bottom,right"
LABELS = f"""{COLUMNS},all_marked
one/a.dcm,,,,,Malignant,image,pathology,BI-RADS 5,C,train,,,,,,
,1.9.2,,,,benign,image,bi-rads,4a,3,val,,,,,,
,,P2,L,,malignant,breast,pathology,,,test,,,,,,
,,P3,,,normal,patient,screening,1,,,,,,,,
two/c,,,,,malignant,image,pathology,5,,,Mass,{",".join(map(str, BOX))},yes
two/c,,,,,benign,image,pathology,2,,,calcification,50,10,60,20,yes
two/d,,,,,malignant,image,pathology,,,,mass,500,10,600,20,
two/e,,,,,malignant,image,pathology,,,,mass,40,10,30,20,
two/e,,,,,benign,image,pathology,,,,mass,1,2,,4,
two/f,,,,,malignant,image,pathology,,,,,,,,,
two/f,,,,,benign,image,pathology,,,,,,,,,
two/g,,,,,cancer,image,pathology,9,x,holdout,,,,,,
two/h,,,,,malignant,,pathology,,,,,,,,,
two/h,,,,,malignant,image,,,,,,,,,,
,,P4,,,malignant,breast,pathology,,,,,,,,,
,,,L,CC,malignant,image,pathology,,,,,,,,,
nowhere.dcm,,,,,malignant,image,pathology,,,,,,,,,
too,many,cells,in,this,row,of,the,table,of,labels,is,a,comma,without,quotes,yes,no
"""


def write_plain_dicom(root: Path) -> None:
    """Write the source."""
    one, two = root / "one", root / "two"
    for folder in (one, two):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text(LABELS)
    (root / "README").write_text("no image")
    (one / "a.dcm").write_bytes(_file("1.9.1", "P1", "L", "CC"))
    (one / "a.dcm copy").write_bytes(_file("1.9.1", "P1", "L", "CC"))
    (one / "b.dicom").write_bytes(_file("1.9.2", "P1", "R", "MLO", PhotometricInterpretation="MONOCHROME1"))
    (one / "p2 left").write_bytes(_file("1.9.3", "P2", "L", "CC"))
    (one / "p2 raw").write_bytes(_file("1.9.4", "P2", "L", "CC", PresentationIntentType="FOR PROCESSING"))
    (one / "p2 right").write_bytes(file_bytes(_mammogram("1.9.5", "P2", "R", "CC"), RLELossless))
    (one / "p3").write_bytes(file_bytes(_mammogram("1.9.6", "P3", None, None), JPEGLosslessSV1))
    for number, name in enumerate("cdefgh"):
        (two / name).write_bytes(_file(f"1.9.1{number}", "P5", "L", "MLO"))
    (two / "p4").write_bytes(_file("1.9.20", "P4", "R", "CC"))
    (two / "unknown").write_bytes(_file("1.9.21", None, "R", "CC"))
    (two / "nobody").write_bytes(_file("1.9.22", None, "R", "CC", StudyInstanceUID=None))
    (two / "words").write_bytes(_file("1.9.23", "P6", None, None, SeriesDescription="R MLO"))
    (root / "tomosynthesis.dcm").write_bytes(_file("1.9.30", "P1", "L", "CC", SOPClassUID=TOMOSYNTHESIS))
    (root / "ct.dcm").write_bytes(_file("1.9.31", "P1", "L", "CC", Modality="CT"))
    (root / "report.dcm").write_bytes(_file("1.9.32", "P1", "L", "CC", Modality="SR", PixelData=None))
    (root / "capture.dcm").write_bytes(_file("1.9.33", "P1", "L", "CC", SOPClassUID=SECONDARY_CAPTURE))
    (root / "colour.dcm").write_bytes(_file("1.9.34", "P1", "L", "CC", PhotometricInterpretation="RGB"))
    (root / "broken.dcm").write_bytes(_file("1.9.35", "P1", "L", "CC")[:500])
    (root / "half.dcm").write_bytes(_file("1.9.36", "P7", "L", "CC")[:-3000])


def image() -> np.ndarray:
    """The stored values of every mammogram of the source: 80 x 60 of 12 bits."""
    return breast()


def _file(uid: str, patient: str | None, side: str | None, view: str | None, **attributes: Any) -> bytes:
    return file_bytes(_mammogram(uid, patient, side, view, **attributes))


def _mammogram(uid: str, patient: str | None, side: str | None, view: str | None, **attributes: Any) -> Any:
    known = {"PatientID": patient, "ImageLaterality": side, "ViewPosition": view}
    known["StudyInstanceUID"] = "1.8." + (patient or "P0")[1:]
    return mammogram(breast(), SOPInstanceUID=uid, **{**known, **attributes})
