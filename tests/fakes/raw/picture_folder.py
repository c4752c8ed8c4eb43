"""A folder of pictures with tables, in the convention and as another lab might have it, and what can be wrong with
it."""

import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.raw.dicom import breast

BOX = (10, 5, 40, 30)
"""Top, left, bottom and right."""
OUTLINE = ((10.0, 5.0), (10.0, 30.0), (40.0, 30.5))
MASK = (slice(20, 41), slice(10, 31))
"""The rows and columns of the mask."""
LABELS = """file,patient,exam,side,view,outcome,unit,source,assessment,density,split,all_marked
images/a.png,P1,1,L,CC,malignant,image,pathology,5,d,train,yes
b,P1,1,right,MLO,benign,breast,BI-RADS,2,2,train,
c.tif,P2,,L,CC,normal,image,screening,1,,val,
d.pgm,P2,,L,ML,,,,,,,
images\\e.png,P3,,,,malignant,image,pathology,,,,
twice.png,P4,,L,CC,malignant,image,pathology,,,,
nowhere.png,P4,,L,CC,malignant,image,pathology,,,,
g.png,P5,,L,CC,malignant,image,pathology,,,,
g.png,P6,,L,MLO,malignant,image,pathology,,,,
h.png,,,L,CC,malignant,image,pathology,,,,
broken.png,P7,,L,CC,benign,image,pathology,,,,
rgb16.png,P7,,L,CC,benign,image,pathology,,,,
"""
FINDINGS = f"""file,kind,outcome,assessment,top,left,bottom,right,outline,mask
a.png,Mass,malignant,5,{",".join(map(str, BOX))},,
a.png,calcification,benign,2,,,,,"{json.dumps(OUTLINE)}",
b,mass,,,,,,,,masks/b.png
b,mass,,,,,,,,masks/none.png
b,mass,,,,,,,,masks/empty.png
b,mass,,,,,,,,masks/small.png
b,mass,,,,,,,,masks/broken.png
d.pgm,mass,,,,,,,"[[1, 2], [3, NaN]]",
d.pgm,mass,,,,,,,{"[" * 2000},
d.pgm,mass,,,10,10,5,5,,
d.pgm,,,,,,,,,
nowhere.png,mass,,,1,1,5,5,,
"""
MAPPING = {
    "labels": "tables/patients.csv",
    "delimiter": ";",
    "encoding": "cp1252",
    "template": "{patient}_{_}_{side}-{view}.png",
    "columns": {"file": "Datei", "outcome": "Befund"},
    "words": {"outcome": {"0": "normal", "1": "malignant"}, "side": {"li": "LEFT", "re": "RIGHT"}},
    "defaults": {"unit": "breast", "source": "pathology", "all_marked": "yes"},
    "bits": 12,
    "inverted": True,
    "spacing": 0.05,
}


def image(bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """The values of a picture: 80 x 60."""
    return breast(bits=bits, seed=seed)


def write_picture_folder(root: Path) -> None:
    """Write the source in the convention: labels.csv and findings.csv."""
    images, masks = root / "images", root / "masks"
    for folder in (images, masks, root / "more"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text(LABELS)
    (root / "findings.csv").write_text(FINDINGS)
    (root / "notes.txt").write_text("no picture")
    shallow = image(8).astype(np.uint8)
    (images / "a.png").write_bytes(_encoded(image(16), "PNG"))
    (images / "b.jpg").write_bytes(_encoded(shallow, "JPEG"))
    (images / "c.tif").write_bytes(_encoded(image(16), "TIFF"))
    (images / "d.pgm").write_bytes(b"P5 60 80 65535\n" + image(16).astype(">u2").tobytes())
    for name in ("e", "g", "h", "twice", "unlisted"):
        (images / f"{name}.png").write_bytes(_encoded(image(12), "PNG"))
    (root / "more" / "twice.png").write_bytes(_encoded(image(12, seed=1), "PNG"))
    (images / "broken.png").write_bytes(_encoded(image(16), "PNG")[:900])
    (images / "rgb16.png").write_bytes(b"\x89PNG no picture at all")
    mask = np.zeros((80, 60), dtype=np.uint8)
    (masks / "empty.png").write_bytes(_encoded(mask, "PNG"))
    mask[MASK] = 255
    (masks / "b.png").write_bytes(_encoded(mask, "PNG"))
    (masks / "small.png").write_bytes(_encoded(mask[:40], "PNG"))
    (masks / "broken.png").write_bytes(_encoded(mask, "PNG")[:60])


def write_mapped_folder(root: Path) -> None:
    """Write a source whose layout.json says how it differs from the convention."""
    (root / "tables").mkdir(parents=True, exist_ok=True)
    (root / "layout.json").write_text(json.dumps(MAPPING))
    (root / "tables" / "patients.csv").write_bytes(
        "Datei;Befund;Ärztin\n17_a_li-cc.png;1;Ä\n17_b_RE-MLO.png;0;\n".encode("cp1252")
    )
    for name in ("17_a_li-cc", "17_b_RE-MLO", "18_c_L-CC"):
        (root / f"{name}.png").write_bytes(_encoded(4095 - image(12), "PNG"))


def _encoded(values: NDArray[np.uint8] | NDArray[np.uint16], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()
