"""A small VinDr-Mammo: six studies with the faults of the real tables."""

from pathlib import Path

from tests.fakes.raw.plain_files import grey_image, inverted, write_csv, write_dicom, write_picture

HEIGHT, WIDTH = 60, 40
COMMON = ["study_id", "series_id", "image_id", "laterality", "view_position", "height", "width", "breast_birads"]
BREASTS = [*COMMON, "breast_density", "split"]
FINDINGS = [*COMMON, "breast_density", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax", "split"]
MONOCHROME1 = ("mass-l-cc", "mass-l-mlo")
IMAGES = [
    # study, series, image, side, view, BI-RADS, density, split
    ("s1", "a", "normal-l-cc", "L", "CC", 1, "B", "training"),
    ("s1", "a", "normal-l-mlo", "L", "MLO", 1, "B", "training"),
    ("s1", "a", "benign-r-cc", "R", "CC", 2, "B", "training"),
    ("s1", "a", "benign-r-mlo", "R", "MLO", 2, "B", "training"),
    ("s2", "a", "mass-l-cc", "L", "CC", 4, "C", "training"),
    ("s2", "b", "mass-l-mlo", "L", "MLO", 4, "C", "training"),  # a study with two series
    ("s3", "a", "calc-r-cc", "R", "CC", 5, "D", "test"),
    ("s3", "a", "calc-r-cc-again", "R", "CC", 5, "D", "test"),  # a view twice
    ("s4", "a", "probably-l-cc", "L", "CC", 3, "A", "training"),
    ("s4", "a", "retraction-r-cc", "R", "CC", 1, "A", "training"),  # BI-RADS 1, but with a box
    ("s5", "a", "processing", "L", "CC", 1, "A", "training"),
    ("s5", "a", "no-file", "L", "MLO", 1, "A", "training"),
    ("s5", "a", "damaged", "R", "CC", 1, "A", "training"),
    ("s1", "a", "normal-l-cc", "L", "CC", 1, "B", "training"),  # a row twice
]
BOXES = [
    # image, categories, BI-RADS, xmin, ymin, xmax, ymax
    ("normal-l-cc", "['No Finding']", "", "", "", "", ""),
    ("mass-l-cc", "['Suspicious Calcification', 'Mass']", "BI-RADS 4", 10.5, 20.25, 18.5, 30.75),
    ("mass-l-mlo", "['Mass']", "BI-RADS 4", -3.5, 50.0, 12.0, 64.5),  # leaves the frame at two sides
    ("calc-r-cc", "['Suspicious Calcification']", "", 5, 6, 15, 16),  # no category
    ("calc-r-cc-again", "['Mass'", "BI-RADS 5", 5, 6, 15, 16),  # not a list
    ("calc-r-cc-again", "['Mass']", "BI-RADS 5", 5, 6, 15, ""),  # incomplete
    ("calc-r-cc-again", "['Mass']", "BI-RADS 5", 45, 6, 50, 16),  # outside
    ("probably-l-cc", "['Focal Asymmetry']", "BI-RADS 3", 1, 2, 11, 12),
    ("retraction-r-cc", "['Nipple Retraction']", "", 1, 2, 11, 12),
    ("unlisted", "['Mass']", "BI-RADS 4", 1, 2, 11, 12),
]


def write_vindr(root: Path) -> None:
    """Write the set: tables, .dicom files and an 8-bit copy of one image."""
    images = [
        [study, series, image, side, view, HEIGHT, WIDTH, f"BI-RADS {birads}", f"DENSITY {density}", split]
        for study, series, image, side, view, birads, density, split in IMAGES
    ]
    write_csv(root / "breast-level_annotations.csv", [BREASTS, *images])
    by_image = {line[2]: line for line in reversed(images)}
    common = {image: by_image.get(image, images[0])[:9] for image, *_ in BOXES}
    boxes = [[*common[image][:2], image, *common[image][3:], *box, "training"] for image, *box in BOXES]
    write_csv(root / "finding_annotations.csv", [FINDINGS, *boxes])
    (root / "SHA256SUMS.txt").write_text("")
    for seed, (study, _, image, *_) in enumerate(IMAGES[:-1]):
        if image != "no-file":
            _write_image(root / "images" / study / f"{image}.dicom", seed, image)
    write_dicom(root / "images" / "s6" / "no-row.dicom", grey_image(90))
    write_picture(root / "images_png" / "s1" / "normal-l-cc.png", grey_image(0))


def _write_image(path: Path, seed: int, image: str) -> None:
    intent = "FOR PROCESSING" if image == "processing" else "FOR PRESENTATION"
    grey, fields = grey_image(seed, HEIGHT, WIDTH, 12), dict[str, object](WindowCenter=2048, WindowWidth=4096)
    if image in MONOCHROME1:  # these have no PixelPaddingValue either
        grey, fields["PhotometricInterpretation"] = inverted(grey, 12), "MONOCHROME1"
    else:
        fields["PixelPaddingValue"] = 0
    write_dicom(path, grey, 12, "", PresentationIntentType=intent, **fields)
    if image == "damaged":
        path.write_bytes(b"not DICOM")
