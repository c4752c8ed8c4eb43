"""A small INbreast with the faults of the real one: dirty names, specks, a blank density, totals below the table."""

import plistlib
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.raw.plain_files import grey_image, write_csv, write_dicom

HEADER = ["Patient ID", "Patient age", "Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads"]
ANA, EVA = "a01de3d6ee1b7a11", "5cb49e1c4a2f0b3c"
Points = Sequence[tuple[float, float]]
IMAGES = [
    # file name, patient, side, view of the table, view of the file's name, ACR, BI-RADS
    ("20586908", ANA, "L", "CC", "CC", "2", "1"),  # no XML
    ("20586934", ANA, "L", "MLO", "ML", "2", "2"),
    ("20586960", ANA, "R", "CC", "CC", "3", "4a"),
    ("20586986", ANA, "R", "MLO", "ML", "3", "4c"),
    ("50994300", EVA, "R", "FB", "FB", "4", "5"),
    ("53582540", EVA, "L", "MLO", "ML", "   ", "6"),  # density is blank
    ("53582546", EVA, "L", "CC", "CC", "1", "3"),  # has a category, but no XML
    ("53582550", EVA, "R", "CC", "CC", "1", "1"),  # BI-RADS 1 with an outline
    ("53582560", EVA, "R", "", "ML", "1", "4b"),  # no view in the table; damaged XML
    ("53582570", EVA, "L", "CC", "CC", "1", "2"),  # the file is missing
]
MASS: Points = [(10.5, 20.25), (18.0, 20.25), (18.0, 30.75), (10.5, 30.75)]
REGIONS: dict[str, list[tuple[str, Points]]] = {
    "20586934": [("Calcification", [(5.0, 6.0)]), ("Calcifications", [(7.5, 8.5), (8.5, 8.5)])],
    "20586960": [("Mass", MASS), ("Espiculated Region", [(9.0, 19.0), (20.0, 19.0), (20.0, 32.0)])],
    "20586986": [("Assymetry", [(30.0, 50.0), (44.5, 50.0), (44.5, 65.5)]), ("Unnamed", MASS)],
    "50994300": [("Cluster", MASS), ("Distortion", MASS), ("Asymmetry", MASS), ("Spiculated Region", MASS)],
    "53582540": [("Mass ", MASS), ("Mass", [])],
    "53582550": [("Calcification", [(5.0, 6.0)])],
}
BOMB = b"""<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<plist version="1.0"><dict><key>Images</key><array><dict><key>ROIs</key><array><dict><key>Name</key><string>&b;</string>
</dict></array></dict></array></dict></plist>"""


def write_inbreast(root: Path) -> None:
    """Write the release: table, DICOM and XML files, and folders that are not read."""
    release = root / "INbreast Release 1.0"
    write_csv(release / "INbreast.csv", table_lines(), ";", "cp1252")
    (release / "INbreast.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    for seed, (name, patient, side, _, view, *_) in enumerate(IMAGES[:-1]):
        file = f"{name}_{patient}_MG_{side}_{view}_ANON.dcm"
        write_dicom(release / "AllDICOMs" / file, grey_image(seed, bits=14), 14)
    write_dicom(release / "AllDICOMs" / f"60000000_{EVA}_MG_L_CC_ANON.dcm", grey_image(50))
    write_dicom(release / "AllDICOMs" / "again" / "AllDICOMs" / f"20586908_{ANA}_MG_L_CC_ANON.dcm", grey_image(51))
    (release / "AllDICOMs" / f"60000001_{EVA}_MG_L_CC_ANON.dcm").write_bytes(b"not DICOM")
    _write_regions(release)
    (release / "MedicalReports").mkdir()
    (release / "MedicalReports" / f"{ANA}.txt").write_bytes("Microcalcificações".encode("cp1252"))
    (release / "PectoralMuscle").mkdir()
    (release / "PectoralMuscle" / "20586908_muscle.xml").write_bytes(b"<plist/>")


def table_lines() -> list[list[str]]:
    """The lines of the table, with the totals of the workbook at its end."""
    removed = ["removed", "removed"]
    images = [[*removed, side, view, "201001", name, acr, birads] for name, _, side, view, _, acr, birads in IMAGES]
    damaged = [*removed, "L", "CC", "201001", "60000001", "1", "1"]
    totals = [["", "", "", "", "", "", "", "410"], ["Notas: simétrica", "", "", "", "", "", "", ""]]
    return [HEADER, *images, damaged, images[0], *totals]


def _write_regions(release: Path) -> None:
    (release / "AllXML").mkdir()
    for name, regions in REGIONS.items():
        content = plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(regions), "ROIs": _plist(regions)}]})
        (release / "AllXML" / f"{name}.xml").write_bytes(content)
    (release / "AllXML" / "53582560.xml").write_bytes(BOMB)
    (release / "AllXML" / "99999999.xml").write_bytes(plistlib.dumps({"Images": []}))


def _plist(regions: Sequence[tuple[str, Points]]) -> list[dict[str, object]]:
    return [
        {
            "Name": name,
            "NumberOfPoints": len(points) + (name == "Cluster"),  # one region states a wrong number
            "Point_px": [f"({x:f}, {y:f})" for x, y in points],
        }
        for name, points in regions
    ]
