"""Imports in parts: plan, cut, assemble."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from services.common.blobs import Blobs, open_blobs
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput, NotFound
from services.imaging.dataset import Dataset
from services.imaging.geometry import box_outline
from services.imaging.licence import DataCard, Term
from services.imaging.patches import SPLITS
from services.imaging.pixels import Pixels
from services.training.names import BUCKET
from services.training.raw import importing, layouts
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.cutting.prepare import NO_BREAST, OUTSIDE, UNREADABLE, WRONG_SIZE
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.importing import FAILED, assemble, cut_part, plan_import
from services.training.raw.plan import Source, discard, is_cut
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles
from tests.fakes.raw.drawn import HEIGHT, SKIPPED, WIDTH, DrawnLayout, drawn_breast, encoded

MALIGNANT = Label(Outcome.MALIGNANT, LabelUnit.BREAST, LabelSource.PATHOLOGY)
MASS = Finding("mass", (box_outline(140, 20, 199, 79),), Outcome.MALIGNANT)
FAR = Finding("mass", (box_outline(900, 900, 950, 950),), Outcome.BENIGN)
RECIPE = CutRecipe(fractions=(0.25,), part_mammograms=3)


def mammogram(number: int, **changes: object) -> RawMammogram:
    """A mammogram of patient `number` with a mass."""
    name = f"cancer_01-B_{number:04d}_1.LEFT_CC.LJPEG.1"
    plain = RawMammogram(
        name, f"{number}.png", f"B_{number:04d}", f"B_{number:04d}", "LEFT", "CC", MALIGNANT, "b", 5, (MASS,), True
    )
    return replace(plain, **changes)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(f"folder://{tmp_path / 'blobs'}")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Twenty mammograms, of which four cannot be used, and a finding outside of its image."""
    folder = tmp_path / "raw"
    folder.mkdir()
    listed = [mammogram(number) for number in range(20)]
    for number, one in enumerate(listed):
        (folder / one.file).write_bytes(encoded(drawn_breast(seed=number)))
    (folder / "0.png").write_bytes(b"no image")
    (folder / "1.png").write_bytes(encoded(drawn_breast()[:, :1].repeat(WIDTH, axis=1) * 0))
    listed[2] = replace(listed[2], height=HEIGHT + 1, width=WIDTH)
    listed[3] = replace(listed[3], findings=(MASS, FAR))
    listed.append(mammogram(99))  # its file does not exist
    monkeypatch.setitem(layouts.LAYOUTS, "drawn", DrawnLayout)
    monkeypatch.setattr(DrawnLayout, "mammograms", listed)
    return Source(layout="drawn", folder=folder)


def imported(blobs: Blobs, source: Source, recipe: CutRecipe = RECIPE) -> tuple[Dataset, ImportReport]:
    """Import a source."""
    plan = plan_import(blobs, "drawn", source, recipe)
    for number in range(len(plan.parts)):
        cut_part(blobs, plan, number)
    manifest, ref, report = assemble(blobs, plan)
    dataset = Dataset.open(blobs, ref)
    assert dataset.manifest == manifest
    return dataset, report


def test_a_source_becomes_a_data_set(blobs: Blobs, source: Source) -> None:
    """Patches, mammograms and outlines are stored; what cannot be used is in the report with its reason, and the card
    has the licence, the counts and the recipe."""
    dataset, report = imported(blobs, source)
    manifest = dataset.manifest
    assert (manifest.classes, manifest.mammogram_count) == (("normal", "benign", "cancer"), 17)
    assert manifest.splits.keys() == set(SPLITS)
    assert sum(manifest.splits.values()) == report.counts["patches"] == dataset.index.num_rows
    assert {reason: one.count for reason, one in report.dropped.items()} == {
        SKIPPED: 1,
        UNREADABLE: 1,
        NO_BREAST: 1,
        WRONG_SIZE: 1,
        OUTSIDE: 1,
    }
    assert report.dropped[UNREADABLE].examples[0].startswith("0.png is not a complete image")
    assert set(dataset.labels) == {0, 2}
    for row in dataset.index.to_pylist():
        assert row["phenomenon"] == ("mass" if row["label"] == 2 else "")
        assert dataset.read(row["patch_id"]).startswith(b"\x89PNG")
    assert len(dataset.lesions) == 17
    assert dataset.preview("cancer_01-B_0004_1.LEFT_CC.LJPEG.1").startswith(b"\xff\xd8")
    assert manifest.card is not None and manifest.report is not None
    card = DataCard.model_validate_json(read_verified(blobs, manifest.card))
    assert (card.layout, card.licence.citation, manifest.terms) == ("drawn", "nobody", (Term.NO_WEIGHTS_RELEASE,))
    assert card.label_units == {"breast, pathology": 20}
    assert card.recipe["fractions"] == [0.25]
    for split, counted in card.splits.items():
        ids = dataset.ids(split)
        assert sum(counted.patches.values()) == len(ids) == manifest.splits[split]
        assert counted.patches["cancer"] == (dataset.labels[ids] == 2).sum()
    assert ImportReport.model_validate_json(read_verified(blobs, manifest.report)) == report


def test_an_interrupted_import_continues(blobs: Blobs, source: Source, tmp_path: Path) -> None:
    """Parts may be cut in any order, and twice; the data set is the same to the byte. A data set whose parts are not
    all cut is not assembled."""
    expected, _ = imported(open_blobs(f"folder://{tmp_path / 'other'}"), source)
    plan = plan_import(blobs, "drawn", source, RECIPE)
    done = [cut_part(blobs, plan, number) for number in (2, 0)]
    with pytest.raises(NotFound):
        assemble(blobs, plan)
    again = plan_import(blobs, "drawn", source, RECIPE)
    assert again == plan
    assert [number for number in range(len(again.parts)) if is_cut(blobs, again, number)] == [0, 2]
    assert [cut_part(blobs, again, number) for number in (2, 0)] == done
    for number in reversed(range(len(again.parts))):
        cut_part(blobs, again, number)
    manifest, _, _ = assemble(blobs, again)
    assert manifest.dataset_id == expected.manifest.dataset_id
    discard(blobs, again)
    assert list(blobs.list(BUCKET, "imports/")) == []
    assert Dataset(blobs, manifest).read(0)


def test_a_reader_that_fails_costs_one_mammogram(blobs: Blobs, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out with the kind of the error; the log says where, and does not quote the file."""
    read = DrawnLayout.read

    def fail(self: DrawnLayout, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        if mammogram.file == "7.png":
            raise KeyError("DOE^JANE")
        return read(self, files, mammogram)

    log = CapturingLogger()
    monkeypatch.setattr(importing, "log", log)
    monkeypatch.setattr(DrawnLayout, "read", fail)
    dataset, report = imported(blobs, source)
    assert dataset.manifest.mammogram_count == 16
    assert report.dropped[FAILED].examples == ["7.png: KeyError"]
    [call] = [call for call in log.calls if call.method_name == "error"]
    assert call.args == ("reader failed",)
    assert "in fail" in call.kwargs["stack"]
    assert "DOE" not in str(call.kwargs).replace('KeyError("DOE^JANE")', "")  # the line of this test in the stack


def test_another_recipe_is_another_import(blobs: Blobs, source: Source) -> None:
    """The id depends on name, layout, recipe, what was read and the owner, and not on where the folder lies."""
    plan = plan_import(blobs, "drawn", source, RECIPE)
    assert plan_import(blobs, "drawn", source, RECIPE.model_copy(update={"seed": 5})).import_id != plan.import_id
    assert plan_import(blobs, "other", source, RECIPE).import_id != plan.import_id
    assert plan_import(blobs, "drawn", source, RECIPE, owner="import-2").import_id != plan.import_id


def test_classes_by_phenomenon(blobs: Blobs, source: Source) -> None:
    """Each kind of finding that counts is a class."""
    dataset, _ = imported(blobs, source, RECIPE.model_copy(update={"classes": "phenomenon"}))
    assert dataset.manifest.classes == ("normal", "mass")
    assert set(dataset.labels) == {0, 1}


def test_sources_that_give_nothing_are_refused(
    blobs: Blobs, source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unknown layout, a missing folder, names that occur twice, and a source without mammograms are refused by
    name."""
    with pytest.raises(InvalidInput, match="no layout 'nothing'"):
        plan_import(blobs, "x", Source(layout="nothing", folder=source.folder), RECIPE)
    with pytest.raises(InvalidInput, match="is not a folder"):
        plan_import(blobs, "x", Source(layout="drawn", folder=tmp_path / "away"), RECIPE)
    monkeypatch.setattr(DrawnLayout, "mammograms", [mammogram(5), mammogram(5)])
    with pytest.raises(InvalidInput, match="1 mammogram names twice, such as cancer_01-B_0005"):
        plan_import(blobs, "x", source, RECIPE)
    monkeypatch.setattr(DrawnLayout, "mammograms", [])
    with pytest.raises(InvalidInput, match=f"no mammogram that can be imported: 1 x {SKIPPED}"):
        plan_import(blobs, "x", source, RECIPE)


def test_leaks_of_the_source_are_kept_and_named(blobs: Blobs, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patient in two splits of the source stays there, and the notice and the card name the patient."""
    listed = [mammogram(5, split="train"), mammogram(6, patient="B_0005", split="val")]
    monkeypatch.setattr(DrawnLayout, "mammograms", listed)
    dataset, _ = imported(blobs, source)
    assert "B_0005 in train and val" in dataset.manifest.notice
    assert dataset.manifest.card is not None
    assert json.loads(read_verified(blobs, dataset.manifest.card))["leaks"] == ["B_0005 in train and val"]
