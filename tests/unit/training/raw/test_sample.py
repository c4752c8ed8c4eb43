"""The sample: real tissue with simulated lesions, imported from raw DICOM files."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.common.blobs import Blobs, open_blobs
from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset
from services.imaging.licence import Term
from services.imaging.patches import Box, parse_patch_name
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.cutter import encode
from services.training.raw.importing import assemble, cut_part, plan_import
from services.training.raw.layouts.sample.drawing import (
    assign_phenomena,
    choose_site,
    grid_cells,
    plan_variant,
)
from services.training.raw.layouts.sample.layout import (
    NO_IMAGE_NAME,
    NOT_DECODED,
    SAMPLE_RECIPE,
    SPLIT_OF_PATIENT,
    VARIANTS,
    Sample,
)
from services.training.raw.layouts.sample.views import View, display_grey, open_view, sample_folder
from services.training.raw.plan import Source
from services.training.raw.source.dicom_headers import UNREADABLE
from tests.fakes.raw.cbis_ddsm import dicom
from tests.fakes.raw.drawn import drawn_breast
from tests.unit.training.raw.scanning import counts, scan

FILE = "sfm-benign-0/1-130.dcm"
OTHER_PIXELS = np.random.default_rng(5).integers(0, 65536, (40, 30)).astype(np.uint16)


@pytest.fixture(scope="module")
def mammograms() -> dict[str, RawMammogram]:
    """All mammograms of the sample, by name."""
    found, report = scan(Sample(), sample_folder())
    assert (report.dropped, report.mended, report.flagged) == ({}, {}, {})
    return found


@pytest.fixture(scope="module")
def view() -> View:
    return open_view((sample_folder() / FILE).read_bytes(), FILE)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    return open_blobs(f"folder://{tmp_path_factory.mktemp('store')}")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, blobs: Blobs) -> Dataset:
    """The data set of one file of the sample."""
    folder = tmp_path_factory.mktemp("one")
    (folder / Path(FILE).name).write_bytes((sample_folder() / FILE).read_bytes())
    plan = plan_import(blobs, "sample", Source(layout="sample", folder=folder), SAMPLE_RECIPE)
    assert plan.parts == ("val",)
    cut_part(blobs, plan, 0)
    manifest, _, report = assemble(blobs, plan)
    assert (report.dropped, report.mended, report.flagged) == ({}, {}, {})
    return Dataset(blobs, manifest)


def grey_of(content: bytes) -> NDArray[np.float64]:
    """The grey values of a picture."""
    return np.asarray(Image.open(io.BytesIO(content)), dtype=float)


def inside(box: Box) -> tuple[slice, slice]:
    """The rows and columns of a box."""
    return slice(box.row, box.row + box.height), slice(box.column, box.column + box.width)


def test_every_view_has_seven_variants(mammograms):
    """Two patients have both views of both sides. Each patient belongs to one split."""
    assert Counter((one.patient, one.side, one.view) for one in mammograms.values()) == {
        (patient, side, view): VARIANTS
        for patient in SPLIT_OF_PATIENT
        for side in ("LEFT", "RIGHT")
        for view in ("CC", "MLO")
    }
    assert {one.patient: one.split for one in mammograms.values()} == SPLIT_OF_PATIENT
    assert sorted(SPLIT_OF_PATIENT.values()) == ["train", "val"]
    assert next(iter(mammograms)) == "sample_01-P_00173_v1.LEFT_CC"
    assert len({one.cells for one in mammograms.values()}) == len(mammograms)


def test_the_sample_has_at_least_1200_patches(mammograms):
    """All mammograms have 1,200 to 1,600 cells together, and more than 400 for each patient."""
    cells = Counter(dict.fromkeys(SPLIT_OF_PATIENT, 0))
    for one in mammograms.values():
        cells[one.patient] += len(one.cells)
    assert 1200 <= cells.total() <= 1600
    assert min(cells.values()) > 400


def test_the_same_seed_draws_the_same(view):
    """A variant that is drawn again has the same grey values. Another seed, view or variant has others. No lesion
    stays in the view for the next variant."""
    before = view.grey.copy()
    grey, outlines = plan_variant(view, 0, 1).draw(view)
    again, same = plan_variant(view, 0, 1).draw(view)
    np.testing.assert_array_equal(again, grey)
    assert same == outlines
    for other in (plan_variant(view, 0, 1, seed=8), plan_variant(view, 1, 1), plan_variant(view, 0, 2)):
        assert (other.draw(view)[0] != grey).any()
    np.testing.assert_array_equal(view.grey, before)


def test_the_import_cuts_what_was_drawn(dataset, view):
    """Each cell of a variant is a patch: the drawing there, as JPEG, with the drawn phenomenon."""
    drawn = {number: plan_variant(view, 0, number) for number in range(1, VARIANTS + 1)}
    rows = dataset.index.to_pylist()
    assert len(rows) == sum(len(one.cells) for one in drawn.values()) > 100
    assert {row["split"] for row in rows} == {"val"}
    for number, planned in drawn.items():
        grey, _ = planned.draw(view)
        own = [row for row in rows if f"_v{number}." in row["mammogram"]]
        assert [row["phenomenon"] for row in own] == list(planned.phenomena)
        for row, cell in zip(own, planned.cells, strict=True):
            assert parse_patch_name(row["name"]).box == cell
            assert parse_patch_name(row["name"]).image_fraction == "0.125"
            assert row["name"].endswith("_stridefrac1.0.jpg")
            assert dataset.read(row["patch_id"]) == encode(grey[inside(cell)])


def test_patches_are_cut_where_their_names_say(dataset, blobs):
    """The pixels of a patch equal those of the mammogram there."""
    [mammogram] = [one for one in dataset.mammograms.values() if "_v1." in str(one["name"])]
    whole = grey_of(blobs.get("training", str(mammogram["key"])))
    assert whole.shape == (mammogram["height"], mammogram["width"])
    for row in dataset.index.to_pylist():
        if row["mammogram"] == mammogram["name"]:
            box, pixels = parse_patch_name(row["name"]).box, grey_of(dataset.read(row["patch_id"]))
            assert pixels.shape == (int(0.125 * min(whole.shape)),) * 2
            assert np.abs(pixels - whole[inside(box)]).mean() < 4.0


def test_every_lesion_lies_in_the_patch_that_names_it(dataset):
    """Each patch with a phenomenon has one lesion, whose outline is within the patch's box."""
    holders = [row for row in dataset.index.to_pylist() if row["phenomenon"]]
    assert len(holders) == len(dataset.lesions) > 50
    for row, lesion in zip(holders, dataset.lesions, strict=True):
        assert (lesion["mammogram"], lesion["phenomenon"]) == (row["mammogram"], row["phenomenon"])
        rows, columns = np.array(lesion["outline"]).T
        assert row["row"] <= rows.min() <= rows.max() <= row["row"] + row["height"]
        assert row["column"] <= columns.min() <= columns.max() <= row["column"] + row["width"]


def test_normal_patches_are_the_real_tissue(dataset, view):
    """Patches without a phenomenon equal the view, except for JPEG."""
    for row in dataset.index.to_pylist():
        if not row["phenomenon"]:
            tissue = view.grey[inside(parse_patch_name(row["name"]).box)]
            assert np.abs(grey_of(dataset.read(row["patch_id"])) - tissue).mean() < 3.0


def test_labels_agree_with_phenomena(dataset):
    """Spiculated masses and pleomorphic calcifications are cancer, the other two benign. No phenomenon is normal."""
    labels = {
        "": "normal",
        "spiculated_mass": "cancer",
        "pleomorphic_calcifications": "cancer",
        "circumscribed_mass": "benign",
        "calcified_vessel": "benign",
    }
    found = {row["phenomenon"]: dataset.manifest.classes[row["label"]] for row in dataset.index.to_pylist()}
    assert found == labels


def test_the_card_says_what_the_sample_is(dataset):
    """The data set has the notice, and the licence of CBIS-DDSM."""
    assert "simulated lesions" in dataset.manifest.notice
    assert dataset.manifest.terms == (Term.ATTRIBUTION,)


def test_files_that_cannot_be_used_are_left_out(tmp_path):
    """A file of another patient scheme, one without a breast, and one that is not DICOM are reported; a source without
    DICOM files is refused."""
    with pytest.raises(InvalidInput, match=r"no file \*\.dcm"):
        scan(Sample(), tmp_path)
    (tmp_path / "a.dcm").write_bytes(dicom(drawn_breast(), "Mass-Test_P_00001_LEFT_CC"))
    (tmp_path / "b.dcm").write_bytes(dicom(drawn_breast(), "Jane"))
    (tmp_path / "c.dcm").write_bytes(dicom(np.zeros((90, 60), dtype=np.uint16), "Mass-Test_P_00002_LEFT_CC"))
    (tmp_path / "d.dcm").write_bytes(b"text")
    found, report = scan(Sample(), tmp_path)
    assert {one.patient for one in found.values()} == {"P_00001"}
    assert counts(report.dropped) == {NO_IMAGE_NAME: 1, NOT_DECODED: 1, UNREADABLE: 1}
    assert report.dropped[NOT_DECODED].examples[0].startswith("c.dcm")


@pytest.mark.parametrize("cells", [0, 1, 7, 40])
def test_phenomena_are_shared_evenly(cells):
    """Two fifths of the cells are normal, and the counts of the four phenomena differ by at most one."""
    dealt = Counter(assign_phenomena(np.random.default_rng(cells), cells))
    normal = dealt.pop("", 0)
    assert normal == round(0.4 * cells)
    assert sum(dealt.values()) == cells - normal
    assert cells < 7 or (len(dealt) == 4 and max(dealt.values()) - min(dealt.values()) <= 1)


def test_cells_are_on_the_breast_and_apart():
    """The breast covers at least half of every cell. Cells are within the image and do not overlap."""
    breast = np.zeros((800, 400), dtype=bool)
    breast[200:600, :230] = True
    covered = np.zeros(breast.shape, dtype=int)
    for cell in grid_cells(breast, np.array([0.3, 0.7])):
        place = (slice(cell.row, cell.row + cell.height), slice(cell.column, cell.column + cell.width))
        assert breast[place].shape == (50, 50)
        assert breast[place].mean() >= 0.5
        covered[place] += 1
    assert covered.max() == 1
    assert covered[breast].mean() > 0.8


def test_sites_are_on_the_breast_within_the_cell():
    """The circle of a site is within the cell and its centre on the breast, wherever the breast is in the cell."""
    rng = np.random.default_rng(2)
    half = np.zeros((300, 300), dtype=bool)
    half[:, :155] = True
    for breast in [half, half.T, np.ones((300, 300), dtype=bool)] * 20:
        site = choose_site(rng, breast)
        assert breast[int(site.row), int(site.column)]
        assert min(site.row, site.column) >= site.reach
        assert max(site.row, site.column) <= 300 - site.reach


def test_display_grey_is_a_linear_window_of_the_breast():
    """The breast's 0.5th percentile becomes 0 and its 99.5th 230, in between it is linear, and the rest is clipped."""
    pixels = np.linspace(0, 60000, 10000).astype(np.uint16).reshape(100, 100)
    breast = (pixels > 20000) & (pixels < 40000)
    grey = display_grey(pixels, breast)
    assert grey.dtype == np.uint8
    assert grey[pixels <= 20000].max() == 0
    assert grey[pixels >= 42500].min() == 255
    np.testing.assert_allclose(grey[breast], np.clip((pixels[breast] - 20100.0) * 230.0 / 19800.0, 0, 255), atol=1.0)


def test_display_grey_wants_a_breast_of_the_same_shape():
    """An empty mask and a mask of another shape raise InvalidInput."""
    with pytest.raises(InvalidInput, match="empty"):
        display_grey(OTHER_PIXELS, np.zeros(OTHER_PIXELS.shape, dtype=bool))
    with pytest.raises(InvalidInput, match="shape"):
        display_grey(OTHER_PIXELS, np.ones((3, 3), dtype=bool))
