"""A small RSNA 2022 set: rare views, implants, empty categories, a test part without labels."""

from pathlib import Path

from tests.fakes.raw.plain_files import grey_image, inverted, write_csv, write_dicom, write_picture

HEADER = [
    "site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy", "invasive", "BIRADS",
    "implant", "density", "machine_id", "difficult_negative_case",
]  # fmt: skip
ROWS = [
    # site, patient, image, side, view, age, cancer, biopsy, invasive, BIRADS, implant, density
    [1, 10006, 462822612, "L", "CC", 61, 0, 0, 0, 1, 0, "A"],
    [1, 10006, 1459541791, "L", "MLO", 61, 0, 0, 0, 1, 0, "A"],
    [1, 10006, 1864590858, "R", "MLO", 61, 0, 0, 0, 2, 0, "B"],
    [1, 10011, 220375232, "L", "CC", 55, 0, 0, 0, 0, 0, "C"],  # recalled, no cancer
    [1, 10011, 541722628, "R", "AT", 55, 0, 1, 0, 0, 0, "C"],  # biopsied, no cancer
    [1, 10011, 632422910, "R", "LMO", 55, 0, 0, 0, "", 0, ""],
    [2, 10025, 562340703, "L", "ML", 75, 1, 1, 1, "", 0, ""],
    [2, 10025, 288394860, "L", "LM", 75, 1, 1, 1, "", 0, ""],
    [2, 10025, 1, "R", "CC", 75, 1, 0, 0, "", 1, ""],  # cancer without a biopsy; implant
    [2, 10026, 2, "R", "CC", 75, "", 0, 0, "", 1, ""],  # no outcome
    [2, 10026, 3, "", "CC", 75, 0, 0, 0, "", 0, ""],  # no side
    [2, 10026, 4, "R", "MLO", 75, 0, 0, 0, "", 0, ""],  # no file
]
TEST_HEADER = [
    "site_id", "patient_id", "image_id", "laterality", "view", "age", "implant", "machine_id", "prediction_id"
]  # fmt: skip
TEST_ROWS = [
    [2, 10008, 736471439, "L", "MLO", 81, 0, 21, "10008_L"],
    [2, 10008, 1591370361, "R", "CC", 81, 1, 21, "10008_R"],
]


def write_rsna(root: Path) -> None:
    """Write both tables and both folders of images, and a picture next to one DICOM."""
    rows = [[*row, 49, False] for row in ROWS]
    write_csv(root / "train.csv", [HEADER, *rows, rows[0], [*rows[0], "a cell too many"]])
    write_csv(root / "test.csv", [TEST_HEADER, *TEST_ROWS])
    write_csv(root / "sample_submission.csv", [["prediction_id", "cancer"], ["10008_L", 0.02]])
    for seed, (site, patient, image, *_) in enumerate(ROWS[:-1]):
        grey, photometric = grey_image(seed, bits=12), "MONOCHROME2"
        if site == 2:
            grey, photometric = inverted(grey, 12), "MONOCHROME1"
        file = root / "train_images" / str(patient) / f"{image}.dcm"
        write_dicom(file, grey, 12, PhotometricInterpretation=photometric)
    for seed, (_, patient, image, *_) in enumerate(TEST_ROWS, 50):
        write_dicom(root / "test_images" / str(patient) / f"{image}.dcm", grey_image(seed, bits=12), 12)
    write_picture(root / "train_images" / "10006" / "462822612.png", grey_image(0))
    write_dicom(root / "train_images" / "99999" / "5.dcm", grey_image(99))
