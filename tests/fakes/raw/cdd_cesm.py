"""A small CDD-CESM: several rows an image, joined categories, misspellings, blanks in names, all shapes of outlines."""

import json
from pathlib import Path

from tests.fakes.raw.plain_files import grey_image, write_csv, write_picture, write_workbook

HEADER = [
    "Image_name", "Patient_ID", "Side", "Type", "Age", "Breast density (ACR)", "BIRADS", "Findings", "View", "Tags",
    "Machine", "Pathology Classification/ Follow up",
]  # fmt: skip
ROWS: list[list[object]] = [
    ["P1_R_DM_MLO", 1, "R", "DM", 50, "C", "1", "_", "MLO", "Normal", 1, "Normal"],
    ["P1_L_DM_MLO", 1, "L", "DM", 50, "C", "4$2", "Irregular mass", "MLO", "Mass", 1, "Malignant"],
    ["P1_L_CM_MLO", 1, "L", "CESM", 50, "_", "5", "Mass enhancement", "MLO", "Mass enhancement", 1, "Malignant"],
    ["P1_L_CM_MLO", 1, "L", "CESM", 50, "_", "4", "Non mass enhancement", "MLO", "", 1, "Malignant"],
    ["P2_L_DM_CC ", 2, "L", "DM", 40, "B", "2", "Oval mass", "CC", "Mass", 2, "Benign"],  # two rows an image
    ["P2_L_DM_CC ", 2, "L", "DM", 40, "B", "5", "Pleomorphic calcifications", "CC", "", 2, "Malignant"],
    ["P2_R_DM_CC", 2, "R", "DM", 40, "B", "3", "Architectural distortion", "CC", "", 2, "Benign"],
    ["P3_L_DM_CC", 3, "L", "DM", 60, "D", "1", "_", "CC", "", 1, "Normal"],  # normal, but outlined
    ["P3_R_DM_CC", 3, "R", "DM", 60, "D", "", "Non mass enhancement", "MLO", "", 1, "Unknown"],  # view disagrees
    ["P3_R_DM_MLO", 3, "R", "DM", 60, "_", "4", "Focal asymmetry", "MLO", "", 1, "Benign"],  # a region is lost
    ["P4_R_DM_MLO", 4, "R", "DM", 60, "A", "4", "", "MLO", "", 1, "Benign"],  # no file
    ["Notes", "", "", "", "", "", "", "", "", "", "", ""],
]
MASSES = [
    ["Image_name", "Mass shape", "Mass margin", "Mass density"],
    ["P1_L_DM_MLO", "Irregular", "Speculated", "High"],
]
POLYGON: dict[str, object] = {"name": "polygon", "all_points_x": [10, 20, 20.5, 9], "all_points_y": [12, 12, 30, 31]}
ELLIPSE = {"name": "ellipse", "cx": 15, "cy": 30, "rx": 4, "ry": 9}
CIRCLE = {"name": "circle", "cx": 22, "cy": 40, "r": 6.5}
POLYLINE = {"name": "polyline", "all_points_x": [1, 5, 9], "all_points_y": [2, 8, 2]}
POINT = {"name": "point", "cx": 17, "cy": 18}
RECT = {"name": "rect", "x": 3, "y": 4, "width": 5, "height": 6}
TURNED = {**ELLIPSE, "theta": 1.5707963267948966}
REGIONS = [
    ("P1_L_DM_MLO.jpg", POLYGON),
    ("P1_L_DM_MLO.jpg", ELLIPSE),
    ("P1_L_CM_MLO.jpg", CIRCLE),
    ("P2_L_DM_CC .jpg", CIRCLE),
    ("P2_L_DM_CC .jpg", POINT),
    ("P2_R_DM_CC.jpg", POLYLINE),
    ("P2_R_DM_CC.jpg", RECT),
    ("P2_R_DM_CC.jpg", TURNED),
    ("P3_L_DM_CC.jpg", CIRCLE),
    ("P3_R_DM_MLO.jpg", POLYGON),
    ("P3_R_DM_MLO.jpg", {**CIRCLE, "r": float("nan")}),
    ("P9_R_DM_MLO.jpg", CIRCLE),
]
VIA_HEADER = [
    "#filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
    "region_attributes",
]  # fmt: skip


def write_cdd_cesm(root: Path) -> None:
    """Write workbook, table of outlines, both folders of images, and a report that is not read."""
    write_workbook(
        root / "Radiology-manual-annotations.xlsx",
        {"all": [HEADER, *ROWS], "mass_description": MASSES, "calcifications": [["Image_name", "Type"]]},
    )
    regions: list[list[object]] = [[file, 100, "{}", 1, 0, json.dumps(shape), "{}"] for file, shape in REGIONS]
    empty = ["P1_R_DM_MLO.jpg", 100, "{}", 0, 0, "{}", "{}"]
    write_csv(root / "Radiology_hand_drawn_segmentations_v2.csv", [VIA_HEADER, empty, *regions])
    names = dict.fromkeys(str(row[0]) for row in ROWS[:-2])
    for seed, name in enumerate([*names, "P8_L_DM_CC"]):
        folder = "Subtracted images of CDD-CESM" if "_CM_" in name else "Low energy images of CDD-CESM"
        write_picture(root / folder / f"{name}.jpg", grey_image(seed))
    write_picture(root / "images" / "P1_R_DM_MLO.jpg", grey_image(0))  # a copy sorts behind the original
    (root / "Medical reports for cases").mkdir()
    (root / "Medical reports for cases" / "P1.docx").write_bytes(b"PK")
