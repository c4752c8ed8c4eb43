"""Exports in the original's layout: importing one again makes the same data set, hash for hash."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from services.cli import datasets as datasets_command
from services.cli.main import app
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.errors import Forbidden, InvalidInput
from services.imaging.dataset import Dataset
from services.imaging.dataset_writer import DatasetWriter, Provenance
from services.imaging.licence import Term
from services.imaging.patches import Box, Lesion, Mammogram, Patch, PatchName, exam_of
from services.training.dataset_export import ExportTarget, export_dataset, file_stem
from services.training.exported_facts import FILE
from services.training.importer import ImportSource, import_directory
from services.training.names import BUCKET
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.plan import Source
from tests.fakes.ddsm import jpeg, make_ddsm, make_outlines
from tests.fakes.raw.ddsm import DIAMOND, HEIGHT, VIEWS, WIDTH, abnormality, chain, ics, overlay, words
from tests.fakes.raw.drawn import drawn_breast
from tests.fakes.raw.plain_dicom import write_plain_dicom


def write_breasts_of_ddsm(root: Path) -> None:
    """Write five cases of DDSM: raw words of breasts, and overlays with a mass with calcifications."""
    types = ("MASS SHAPE OVAL MARGINS OBSCURED", "CALCIFICATION TYPE PUNCTATE DISTRIBUTION CLUSTERED")
    for number, volume in enumerate(("cancer_01", "benign_04", "normal_02", "cancer_02", "benign_without_callback_01")):
        case, folder = f"B_{3000 + number}_1", root / volume / f"case{3000 + number}"
        outlined = () if volume.startswith("normal") else ("LEFT_CC", "LEFT_MLO")
        folder.mkdir(parents=True)
        (folder / f"{case.replace('_', '-')}.ics").write_text(ics(case, outlined))
        for seed, view in enumerate(VIEWS):
            film = drawn_breast(HEIGHT, WIDTH, 10 * number + seed) >> 4
            (folder / f"{case}.{view}.LJPEG.1").write_bytes(words(film))
        for view in outlined:
            pathology = "MALIGNANT" if volume.startswith("cancer") else "BENIGN"
            marked = overlay(abnormality(chain(DIAMOND), types=types, pathology=pathology))
            (folder / f"{case}.{view}.OVERLAY").write_text(marked)


WRITERS = {"ddsm": write_breasts_of_ddsm, "dicom": write_plain_dicom}
CLASSES = {"two": 2, "three": 3, "phenomenon": 3}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


def cut(blobs: FolderBlobs, folder: Path, layout: str, classes: str) -> Dataset:
    """The data set of a fake source, in several parts."""
    WRITERS[layout](folder / layout)
    (folder / "keys").mkdir()
    recipe = CutRecipe(
        classes=classes,
        breast_cover=0.1,
        weak_labels=True,
        normal_patches=15,
        splits=(0.5, 0.25, 0.25),
        split_rule="seed",
        part_mammograms=2,
    )
    source = Source(layout=layout, folder=folder / layout)
    plan = plan_import(blobs, layout, source, recipe, pseudonyms=source.pseudonyms(None, folder / "keys"))
    for number in range(len(plan.parts)):
        cut_part(blobs, plan, number)
    return Dataset.open(blobs, assemble(blobs, plan)[1])


def exported(blobs: FolderBlobs, dataset: Dataset, folder: Path) -> ExportTarget:
    """Export a data set, with its mammograms if it has any."""
    target = ExportTarget(folder / "out", folder / "full" if dataset.manifest.mammogram_count else None)
    export_dataset(blobs, dataset, target)
    return target


def imported(folder: Path, target: ExportTarget, classes: int) -> Dataset:
    """Import an exported folder into a store of its own."""
    blobs = FolderBlobs(folder / "other blobs")
    _, ref = import_directory(blobs, BUCKET, ImportSource(target.folder, classes, target.mammograms))
    return Dataset.open(blobs, ref)


def described(dataset: Dataset) -> list[tuple[str, int, str, bytes]]:
    """Name, label, split and bytes of all patches."""
    rows = dataset.index.to_pylist()
    return [(row["name"], row["label"], row["split"], dataset.read(row["patch_id"])) for row in rows]


@pytest.mark.parametrize(
    ("layout", "classes"), [("ddsm", "two"), ("ddsm", "three"), ("dicom", "two"), ("dicom", "three")]
)
def test_an_export_becomes_the_same_data_set_again(
    blobs: FolderBlobs, tmp_path: Path, layout: str, classes: str
) -> None:
    """Id, manifest, and every hash are those of the data set that was exported: patches of three fractions, labels,
    splits, phenomena, outlines, mammograms, card, report and terms."""
    dataset = cut(blobs, tmp_path, layout, classes)
    assert set(dataset.labels) == {*range(CLASSES[classes])}
    assert {re.search("imgfrac([0-9.]*)_", name)[1] for name in dataset.index["name"].to_pylist()} == {  # type: ignore[index]
        "0.5", "0.25", "0.125",
    }  # fmt: skip
    assert len(dataset.manifest.shards) > len(dataset.manifest.splits) > 1
    target = exported(blobs, dataset, tmp_path)
    again = imported(tmp_path, target, CLASSES[classes])
    assert again.manifest == dataset.manifest
    assert described(again) == described(dataset)
    assert again.lesions == dataset.lesions
    assert again.mammograms == dataset.mammograms


def test_films_of_ddsm_have_their_names(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Files of patches and mammograms are named as in the original, keep 16 bits, and need no other file to be read."""
    dataset = cut(blobs, tmp_path, "ddsm", "three")
    target = exported(blobs, dataset, tmp_path)
    for split in dataset.manifest.splits:
        for line in (target.folder / f"{split}.txt").read_text().splitlines():
            assert re.fullmatch(
                r"images/\d+/(cancer|benign|benign_without_callback|normal)_\d\d-[A-D]_\d{4}_1\.(LEFT|RIGHT)_(CC|MLO)"
                r"\.LJPEG\.1-x\d+_y\d+_w(\d+)_h\4_imgfrac0\.(5|25|125)_stridefrac0\.5\.(png|jpg) [012]",
                line,
            ), line
    assert target.mammograms is not None
    name = "cancer_01-B_3000_1.LEFT_CC.LJPEG.1"
    assert Image.open(target.mammograms / f"{name}.png").mode == "I;16"
    [deep, *_] = (target.folder / "images").glob(f"*/{name}-x*.png")
    assert Image.open(deep).mode == "I;16"
    (target.folder / FILE).unlink()
    plain = imported(tmp_path, target, 3)
    assert sorted(described(plain)) == sorted(described(dataset))
    assert plain.index["patient"].to_pylist() == [exam_of(name) for name in plain.index["mammogram"].to_pylist()]


def test_other_classes_are_kept(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Classes by phenomenon are named in the extra file. Another number of classes is refused."""
    dataset = cut(blobs, tmp_path, "ddsm", "phenomenon")
    assert dataset.manifest.classes == ("normal", "calcification", "mass")
    target = exported(blobs, dataset, tmp_path)
    assert imported(tmp_path, target, 3).manifest == dataset.manifest
    with pytest.raises(InvalidInput, match=r"2 classes; .*primitives.json has 3: normal, calcification, mass"):
        imported(tmp_path, target, 2)


@pytest.mark.parametrize("name", ["zwölf/../3 mal", ".hidden", "a\nb\u2028c 1", "x-x1_y2_w3_h3", "%41", "n" * 300])
def test_any_name_survives(blobs: FolderBlobs, tmp_path: Path, name: str) -> None:
    """Names that no file can have are written otherwise and read back. Two that differ only in case stay apart, even on
    a file system that does not distinguish cases."""
    dataset = one_by_one(blobs, name, name.upper(), name.swapcase() + "+")
    target = exported(blobs, dataset, tmp_path)
    files = [path.relative_to(tmp_path).as_posix().casefold() for path in target.folder.rglob("*.png")]
    assert len(set(files)) == dataset.index.num_rows
    assert imported(tmp_path, target, 2).manifest == dataset.manifest


def one_by_one(blobs: FolderBlobs, *names: str) -> Dataset:
    """A data set with a patch of each mammogram in a shard of its own, the splits in another order than usual, a
    mammogram without patches, and a term."""
    image = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(image, "PNG")
    content, box = image.getvalue(), Box(3, 0, 8, 8)
    with DatasetWriter(blobs, BUCKET, "own", ("a", "b"), notice="of ours", shard_patches=1) as writer:
        preview = jpeg(np.full((4, 4), 99, np.uint8))  # another one than the data set would make of the image
        unused = Mammogram("unused", "of train", "LEFT", "", 8, 8, content, preview)
        writer.add_mammogram(unused, [Lesion("unused", "speck", ((0.1, 1e6),), ("round", "smooth"))])
        for split, mammogram in zip(("val", "train", "train"), dict.fromkeys(names), strict=False):
            patch = str(PatchName(mammogram, box, "0.5", "1", ".png"))
            writer.add_patch(Patch(patch, split, 1, f"of {split}", mammogram, box, content, "mass"))
        _, ref = writer.finish(Provenance(None, None, (Term.NO_REDISTRIBUTION,)))
    return Dataset.open(blobs, ref)


def from_lists(blobs: FolderBlobs, folder: Path, classes: int = 3) -> Dataset:
    """A data set that was imported from lists with outlines, without full mammograms."""
    lists = make_ddsm(folder / "lists", {"train": 6, "val": 4}, classes)
    _, ref = import_directory(blobs, BUCKET, ImportSource(lists, classes, outlines=make_outlines(lists)))
    return Dataset.open(blobs, ref)


@pytest.mark.parametrize("classes", [2, 3])
def test_lists_with_outlines_come_back(blobs: FolderBlobs, tmp_path: Path, classes: int) -> None:
    """A data set from lists has neither mammograms nor a card."""
    dataset = from_lists(blobs, tmp_path, classes)
    target = exported(blobs, dataset, tmp_path)
    assert target.mammograms is None
    again = imported(tmp_path, target, classes)
    assert again.manifest == dataset.manifest and len(again.lesions) == 4


def test_without_mammograms_the_patches_are_the_same(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Shards and index are those of the data set; only the table of mammograms differs."""
    dataset = cut(blobs, tmp_path, "ddsm", "three")
    target = ExportTarget(tmp_path / "out")
    export_dataset(blobs, dataset, target)
    again = imported(tmp_path, target, 3).manifest
    assert again.dataset_id != dataset.manifest.dataset_id and again.mammogram_count == 0
    assert (again.shards, again.index.sha256, again.lesions.sha256, again.card and again.card.sha256) == (
        dataset.manifest.shards,
        dataset.manifest.index.sha256,
        dataset.manifest.lesions.sha256,
        dataset.manifest.card and dataset.manifest.card.sha256,
    )


def test_a_damaged_preview_is_refused(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Pages would show it. Without a preview the data set makes one, and is another one."""
    dataset = one_by_one(blobs, "x")
    target = exported(blobs, dataset, tmp_path)
    [preview] = (tmp_path / "full" / "previews").iterdir()
    content = preview.read_bytes()
    preview.write_bytes(content[:100])
    with pytest.raises(InvalidInput, match=r"previews/unused\.jpg"):
        imported(tmp_path, target, 2)
    preview.unlink()
    again = imported(tmp_path, target, 2)
    assert again.manifest.shards == dataset.manifest.shards and again.manifest != dataset.manifest


def test_folders_that_hold_something_are_refused(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Neither folder is written, and a file that is no folder is refused too. A data set without full mammograms has
    none to write."""
    dataset = one_by_one(blobs, "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    for target in (
        ExportTarget(tmp_path / "full"),
        ExportTarget(tmp_path / "out", tmp_path / "full"),
        ExportTarget(tmp_path / "full" / "note"),
    ):
        with pytest.raises(InvalidInput, match="already exists and is not an empty folder"):
            export_dataset(blobs, dataset, target)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInput, match="has no full mammograms to write"):
        export_dataset(blobs, from_lists(blobs, tmp_path), ExportTarget(tmp_path / "out", tmp_path / "new"))


def test_an_export_that_fails_cannot_be_imported(blobs: FolderBlobs, tmp_path: Path) -> None:
    """The lists appear last. The error names the file that cannot be written."""
    dataset = one_by_one(blobs, "x", "y", "z")

    def block(done: int, _total: int) -> None:
        if done == 1:
            (tmp_path / "out" / "images" / "0" / "z-x3_y0_w8_h8_imgfrac0.5_stridefrac1.png").mkdir()

    with pytest.raises(InvalidInput, match=r"z-x3_y0.*\.png cannot be written: File exists"):
        export_dataset(blobs, dataset, ExportTarget(tmp_path / "out"), block)
    with pytest.raises(InvalidInput, match=r"has none of train\.txt"):
        import_directory(blobs, BUCKET, ImportSource(tmp_path / "out", 2))


def test_a_patch_whose_name_states_no_box_is_refused(blobs: FolderBlobs, tmp_path: Path) -> None:
    """The original's form has no other place for a box."""
    with DatasetWriter(blobs, BUCKET, "own", ("a",)) as writer:
        name = str(PatchName("x", Box(1, 1, 8, 8), "0.5", "1"))
        image = jpeg(np.zeros((8, 8), np.uint8))
        writer.add_patch(Patch(name, "train", 0, "P", "x", Box(2, 1, 8, 8), image))
        _, ref = writer.finish()
    with pytest.raises(InvalidInput, match="has a name that does not state its mammogram and box"):
        export_dataset(blobs, Dataset.open(blobs, ref), ExportTarget(tmp_path / "out"))


def change(key: str, value: object) -> Callable[[Path], None]:
    """A change of the extra file."""

    def rewrite(folder: Path) -> None:
        facts = json.loads((folder / FILE).read_text())
        (folder / FILE).write_text(json.dumps(facts | {key: value}))

    return rewrite


def swap_lines(folder: Path) -> None:
    """Exchange two lines of a list."""
    first, second, *rest = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join([second, first, *rest]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (swap_lines, r"primitives\.json describes other lists: train differ"),
        (lambda folder: (folder / "val.txt").unlink(), "describes other lists: val differ"),
        (change("shards", []), "describes other lists: its shards differ"),
        (change("mammograms", []), r"train\.txt:1: primitives\.json has no mammogram whose files begin with 'y'"),
        (change("format", 2), r"primitives\.json: format"),
        (change("terms", ["none"]), r"primitives\.json: terms\.0"),
        (change("more", 1), r"primitives\.json: more"),
        (
            change("mammograms", [{"name": "x", "stem": "../x", "patient": "P", "full": True}]),
            r"primitives\.json: mammograms\.0\.stem",
        ),
        (
            change("outlines", [{"mammogram": "w", "phenomenon": "mass", "outline": [[1, 2]]}]),
            "outlines of 1 unknown mammograms, such as 'w'",
        ),
        (lambda folder: (folder / FILE).write_bytes(b"\xff{"), r"primitives\.json: "),
    ],
)
def test_a_changed_folder_is_refused(
    blobs: FolderBlobs, tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    """The extra file belongs to its lists line by line, so it is not applied to others. The error says what is wrong,
    and nothing is stored."""
    target = ExportTarget(tmp_path / "out")
    export_dataset(blobs, one_by_one_without_outlines(blobs), target)
    break_it(target.folder)
    with pytest.raises(InvalidInput, match=message):
        imported(tmp_path, target, 2)
    assert list(FolderBlobs(tmp_path / "other blobs").list(BUCKET)) == []


def one_by_one_without_outlines(blobs: FolderBlobs) -> Dataset:
    """Three patches of three mammograms."""
    dataset = one_by_one(blobs, "x", "y", "z")
    with DatasetWriter(blobs, BUCKET, "bare", dataset.manifest.classes) as writer:
        for row in dataset.index.to_pylist():
            box = Box(row["row"], row["column"], row["height"], row["width"])
            parts = (row[name] for name in ("name", "split", "label", "patient", "mammogram"))
            writer.add_patch(Patch(*parts, box, dataset.read(row["patch_id"])))
        _, ref = writer.finish()
    return Dataset.open(blobs, ref)


def test_the_command_needs_a_permission_where_the_licence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a confirmation nothing is written. With it the audit log has the export, and the data set that is
    imported again is bound by the same terms."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PRIMITIVES_AUDIT_FILE", str(tmp_path / "audit.jsonl"))
    with datasets_command._training() as (datasets, _):
        dataset = one_by_one(datasets.ports.blobs, "x", "y", "z")
        body = dataset.manifest.model_dump_json(indent=1).encode()
        ref: ObjectRef = datasets.ports.blobs.put(BUCKET, "bound.json", body)
        datasets.register(dataset.manifest, ref)
    words = ["dataset", "export", dataset.manifest.dataset_id, str(tmp_path / "out")]
    words += ["--mammograms", str(tmp_path / "full")]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, Forbidden) and "no-redistribution" in str(refused.exception)
    assert not (tmp_path / "out").exists() and not (tmp_path / "audit.jsonl").read_text()
    result = CliRunner().invoke(app, [*words, "--confirm-permission"])
    assert result.exception is None, result.output
    assert json.loads(result.stdout)["splits"] == dataset.manifest.splits
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert f"patches to {tmp_path / 'out'}; permission confirmed despite no-redistribution" in line
    target = ExportTarget(tmp_path / "out", tmp_path / "full")
    assert imported(tmp_path, target, 2).manifest.terms == (Term.NO_REDISTRIBUTION,)


def test_plain_names_stay() -> None:
    """Only characters that a file's name cannot have everywhere are replaced."""
    assert file_stem("benign_01-B_3099_1.LEFT_CC.LJPEG.1") == "benign_01-B_3099_1.LEFT_CC.LJPEG.1"
    assert file_stem("a/b c") == "a%2Fb%20c"
    assert file_stem("../x") == "%2E.%2Fx"
    assert file_stem("n" * 161).startswith("mammogram-")
