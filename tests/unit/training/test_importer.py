"""The import of the original's layout, and the faults that it can have."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset
from services.training.importer import ImportSource, import_directory
from tests.fakes.ddsm import jpeg, make_ddsm, patch_file

COUNTS = {"train": 9, "val": 6, "test": 3}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def do_import(blobs: FolderBlobs, folder: Path, classes: int = 3, mammograms: Path | None = None) -> Dataset:
    manifest, _ = import_directory(blobs, "training", ImportSource(folder, classes, mammograms))
    return Dataset(blobs, manifest)


def first_line(folder: Path, split: str) -> str:
    return (folder / f"{split}.txt").read_text().splitlines()[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_layout_is_read_as_listed(blobs: FolderBlobs, tmp_path: Path, classes: int) -> None:
    """Patches keep the order of their list, their label, exam and box. The x in a name is the row."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS, classes)
    data = do_import(blobs, folder, classes)
    assert data.manifest.splits == COUNTS
    assert data.manifest.classes == (("not cancer", "cancer") if classes == 2 else ("normal", "benign", "cancer"))
    assert data.manifest.notice == ""
    listed = [line for split in COUNTS for line in (folder / f"{split}.txt").read_text().splitlines()]
    for row, line in zip(data.index.to_pylist(), listed, strict=True):
        path, label = line.split()
        assert (row["name"], row["label"]) == (Path(path).name, int(label))
        assert data.read(row["patch_id"]) == (folder / path).read_bytes()
        assert f"-x{row['row']}_y{row['column']}_w{row['height']}" in row["name"]
        assert row["patient"].startswith("B_3")


def test_the_same_folder_twice_is_one_data_set(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A second import has the same id and stores nothing new."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    first = do_import(blobs, folder).manifest.dataset_id
    stored = list(blobs.list("training"))
    assert do_import(blobs, folder).manifest.dataset_id == first
    assert list(blobs.list("training")) == stored


def test_full_mammograms_are_imported(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Each patch's mammogram is stored once with its side, view and size. An error names a missing one."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    full = tmp_path / "full"
    full.mkdir()
    with pytest.raises(InvalidInput, match=r"full mammogram .*B_3000_1\.LEFT_CC\.LJPEG\.1\.jpg does not exist"):
        do_import(blobs, folder, mammograms=full)
    assert list(blobs.list("training")) == []
    for case in (3000, 3001, 3002, 3100, 3101, 3102):
        (full / f"benign_01-B_{case}_1.LEFT_CC.LJPEG.1.jpg").write_bytes(jpeg(np.zeros((300, 200), np.uint8)))
    data = do_import(blobs, folder, mammograms=full)
    assert data.manifest.mammogram_count == 6
    row = data.mammograms["benign_01-B_3001_1.LEFT_CC.LJPEG.1"]
    assert [row[name] for name in ("side", "view", "height", "width", "patient")] == ["LEFT", "CC", 300, 200, "B_3001"]


def test_a_mammogram_may_be_a_png_of_16_bits(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A grey PNG is stored unchanged. A JPEG of the same name comes first, so that earlier folders keep their hash."""
    folder, full = make_ddsm(tmp_path / "ddsm", COUNTS), tmp_path / "full"
    full.mkdir()
    deep = np.arange(300 * 200, dtype=np.uint16).reshape(300, 200)
    names = [f"benign_01-B_{case}_1.LEFT_CC.LJPEG.1" for case in (3000, 3001, 3002, 3100, 3101, 3102)]
    for name in names:
        Image.fromarray(deep).save(full / f"{name}.png")
    data = do_import(blobs, folder, mammograms=full)
    row = data.mammograms[names[0]]
    assert str(row["key"]).endswith(".png") and (row["height"], row["width"]) == (300, 200)
    stored = blobs.get("training", str(row["key"]))
    assert stored == (full / f"{names[0]}.png").read_bytes()
    assert (np.asarray(Image.open(io.BytesIO(stored))) == deep).all()
    assert Image.open(io.BytesIO(data.preview(names[0]))).mode == "L"
    for name in names:
        (full / f"{name}.jpg").write_bytes(jpeg(np.zeros((300, 200), np.uint8)))
    with_jpegs = do_import(blobs, folder, mammograms=full)
    for name in names:
        (full / f"{name}.png").unlink()
    assert do_import(blobs, folder, mammograms=full).manifest == with_jpegs.manifest


def test_the_notice_names_an_exam_in_two_splits(blobs: FolderBlobs, tmp_path: Path) -> None:
    """The published lists leak. The data set is imported as listed, and its notice names exam and splits."""
    folder = make_ddsm(tmp_path / "ddsm", {"train": 4, "val": 4})
    leaked = patch_file(3000, 999, 30)
    (folder / "images" / "1" / leaked).write_bytes((folder / first_line(folder, "train").split()[0]).read_bytes())
    with (folder / "val.txt").open("a") as file:
        file.write(f"images/1/{leaked} 0\n")
    assert "B_3000 in train and val" in do_import(blobs, folder).manifest.notice


def remove_file(folder: Path) -> None:
    (folder / first_line(folder, "val").split()[0]).unlink()


def truncate(folder: Path) -> None:
    path = folder / first_line(folder, "val").split()[0]
    path.write_bytes(path.read_bytes()[:300])


def no_image(folder: Path) -> None:
    (folder / first_line(folder, "val").split()[0]).write_text("not an image")


def rewrite(line: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / "val.txt").read_text().splitlines()
        lines[1] = line
        (folder / "val.txt").write_text("\n".join(lines))

    return change


def rename_patch(folder: Path) -> None:
    (folder / "images" / "1" / "plain.jpg").write_bytes(b"")
    rewrite("images/1/plain.jpg 0")(folder)


def twice(folder: Path) -> None:
    rewrite((folder / "val.txt").read_text().splitlines()[0])(folder)


def remove_lists(folder: Path) -> None:
    for split in COUNTS:
        (folder / f"{split}.txt").unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (remove_file, r"val\.txt:1: the file images/1/.*\.jpg does not exist in "),
        (truncate, r"val\.txt:1: .*\.jpg is not a complete image: "),
        (no_image, r"val\.txt:1: .*\.jpg is not a complete image: "),
        (rewrite("images/1/x.jpg 3"), r"val\.txt:2: label 3; expected 0 to 2 \(normal, benign, cancer\)"),
        (rewrite("images/1/x.jpg -1"), r"val\.txt:2: 'images/1/x\.jpg -1'; expected '<path of a patch> <label>'"),
        (rewrite("images/1/x.jpg"), r"val\.txt:2: 'images/1/x\.jpg'; expected '<path of a patch> <label>'"),
        (rewrite("../outside.jpg 0"), r"val\.txt:2: \.\./outside\.jpg leads out of "),
        (rewrite(f"images/1/{'x' * 300}.jpg 0"), r"val\.txt:2: .* (is not a path|does not exist)"),
        (rewrite(f"images/1/x.jpg {'1' * 5000}"), r"val\.txt:2: .*; expected '<path of a patch> <label>'"),
        (lambda folder: (folder / "val.txt").write_bytes(b"\xe9 0"), r"val\.txt: byte 0 is not UTF-8"),
        (twice, r"val\.txt:2: patch .* was added twice"),
        (rename_patch, r"val\.txt:2: patch name 'plain\.jpg' has no box"),
        (lambda folder: (folder / "val.txt").write_text(""), r"val\.txt is empty; expected lines of"),
        (remove_lists, r"has none of train\.txt, val\.txt and test\.txt"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    blobs: FolderBlobs, tmp_path: Path, break_it: Callable[[Path], object], message: str
) -> None:
    """The error names file, line and what was expected; no object of the failed import stays."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    break_it(folder)
    with pytest.raises(InvalidInput, match=message):
        do_import(blobs, folder)
    assert list(blobs.list("training")) == []


def test_a_missing_folder_is_named(blobs: FolderBlobs, tmp_path: Path) -> None:
    """A missing folder, and a number of classes that the layout does not have, are refused."""
    with pytest.raises(InvalidInput, match="nowhere is not a folder"):
        do_import(blobs, tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="5 classes; expected 2"):
        do_import(blobs, make_ddsm(tmp_path / "ddsm", COUNTS), classes=5)


def outline_line(mammogram: str, **changes: object) -> str:
    """A line of a file of outlines, with changes."""
    line = {"mammogram": mammogram, "phenomenon": "pectoral muscle", "outline": [[0, 0], [0, 9.5], [8, 0]]}
    return json.dumps(line | changes)


def test_outlines_of_tissue_are_imported(blobs: FolderBlobs, tmp_path: Path) -> None:
    """They are in the data set in the order of their file, with or without full mammograms. Other outlines make another
    data set."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    before = do_import(blobs, folder)
    mammogram = before.index["mammogram"][0].as_py()
    file = tmp_path / "outlines.jsonl"
    lines = [outline_line(mammogram), "", outline_line(mammogram, phenomenon="mass")]
    file.write_text("\n".join(lines))
    manifest, _ = import_directory(blobs, "training", ImportSource(folder, 3, outlines=file))
    outline = [[0, 0], [0, 9.5], [8, 0]]
    assert Dataset(blobs, manifest).lesions == [
        {"mammogram": mammogram, "phenomenon": "pectoral muscle", "outline": outline},
        {"mammogram": mammogram, "phenomenon": "mass", "outline": outline},
    ]
    assert manifest.dataset_id != before.manifest.dataset_id


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "outlines.jsonl:2: "),
        (outline_line("unknown"), "outlines.jsonl:2: the data set has no patch of mammogram 'unknown'"),
        (outline_line("m", phenomenon=""), "outlines.jsonl:2: phenomenon"),
        (outline_line("m", outline=[[0, 0], [1, 1]]), "outlines.jsonl:2: outline"),
        (outline_line("m", outline=[[0, 0], [1, 1], [1, float("nan")]]), "outlines.jsonl:2: "),
        (outline_line("m", outline=[[0, 0], [1, 1], [1, 1, 1]]), "outlines.jsonl:2: outline.2"),
        (outline_line("m", colour="red"), "outlines.jsonl:2: colour"),
    ],
)
def test_a_faulty_line_of_outlines_is_named(blobs: FolderBlobs, tmp_path: Path, line: str, message: str) -> None:
    """The error names file and line, and nothing is stored."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    file = tmp_path / "outlines.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(InvalidInput, match=re.escape(message)):
        import_directory(blobs, "training", ImportSource(folder, 3, outlines=file))
    assert list(blobs.list("training")) == []


def test_a_missing_file_of_outlines_is_named(blobs: FolderBlobs, tmp_path: Path) -> None:
    """The error has the path."""
    folder = make_ddsm(tmp_path / "ddsm", COUNTS)
    with pytest.raises(InvalidInput, match=r"none\.jsonl cannot be read as a file of outlines"):
        import_directory(blobs, "training", ImportSource(folder, 3, outlines=tmp_path / "none.jsonl"))
