"""The sample data set: real tissue with simulated lesions."""

import io
import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidInput
from services.imaging.patches import parse_patch_name
from services.training.sample_dataset import (
    SAMPLE_CLASSES,
    SPLIT_OF_PATIENT,
    VARIANTS,
    SampleMammogram,
    View,
    assign_phenomena,
    choose_site,
    grid_cells,
    label_of,
    make_variant,
    open_view,
    sample_files,
    sample_mammograms_and_patches,
)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [open_view(path) for path in sample_files()]


@pytest.fixture(scope="module")
def variant(views) -> SampleMammogram:
    return make_variant(views[1], (7, 1), 1)


def test_there_are_eight_views_of_two_patients(views):
    """Each patient has both views of both sides, and belongs to one split."""
    seen = Counter((view.patient, view.side, view.view) for view in views)
    assert set(seen.values()) == {1}
    assert Counter(view.patient for view in views) == dict.fromkeys(SPLIT_OF_PATIENT, 4)
    assert sorted(SPLIT_OF_PATIENT.values()) == ["train", "val"]


def test_the_sample_has_at_least_1200_patches(views):
    """The grids of all variants have 1,200 to 1,600 cells, and more than 400 for each patient."""
    rng = np.random.default_rng(0)
    cells = {
        (number, variant): len(grid_cells(view.breast, rng.random(2)))
        for number, view in enumerate(views)
        for variant in range(VARIANTS)
    }
    assert 1200 <= sum(cells.values()) <= 1600
    for patient in SPLIT_OF_PATIENT:
        assert sum(count for (number, _), count in cells.items() if views[number].patient == patient) > 400


def test_the_same_seed_makes_the_same_bytes(views, variant):
    """A variant that is made again has the same bytes. Another seed or another variant has others."""
    assert make_variant(views[1], (7, 1), 1) == variant
    assert make_variant(views[1], (8, 1), 1).mammogram.image != variant.mammogram.image
    assert make_variant(views[1], (7, 1), 2).mammogram.image != variant.mammogram.image


def test_mammograms_are_in_order_and_do_not_change_the_view(views, variant):
    """The iterator yields the variants view by view. No lesion stays in the view for the next variant."""
    before = views[1].grey.copy()
    first, second = itertools.islice(sample_mammograms_and_patches(7, variants=1), 2)
    assert first.mammogram.name == "sample_01-P_00173_v1.LEFT_CC"
    assert second == variant
    make_variant(views[1], (7, 1), 3)
    np.testing.assert_array_equal(views[1].grey, before)


def test_patches_are_cut_where_their_names_say(variant):
    """A patch's name has its mammogram and box, and its pixels equal those of the mammogram there."""
    whole = np.asarray(Image.open(io.BytesIO(variant.mammogram.image)), dtype=float)
    assert whole.shape == (variant.mammogram.height, variant.mammogram.width)
    for patch in variant.patches:
        name = parse_patch_name(patch.name)
        assert (name.mammogram, name.box, name.image_fraction) == (variant.mammogram.name, patch.box, "0.125")
        box, pixels = patch.box, np.asarray(Image.open(io.BytesIO(patch.image)), dtype=float)
        there = whole[box.row : box.row + box.height, box.column : box.column + box.width]
        assert pixels.shape == (int(0.125 * min(whole.shape)),) * 2
        assert np.abs(pixels - there).mean() < 4.0


def test_every_lesion_lies_in_the_patch_that_names_it(variant):
    """Each patch with a phenomenon has one lesion, whose outline is within the patch's box."""
    holders = [patch for patch in variant.patches if patch.phenomenon]
    assert len(holders) == len(variant.lesions) > 10
    for patch, lesion in zip(holders, variant.lesions, strict=True):
        assert (lesion.mammogram, lesion.phenomenon) == (patch.mammogram, patch.phenomenon)
        rows, columns = np.array(lesion.outline).T
        assert patch.box.row <= rows.min() <= rows.max() <= patch.box.row + patch.box.height
        assert patch.box.column <= columns.min() <= columns.max() <= patch.box.column + patch.box.width


def test_normal_patches_are_the_real_tissue(views, variant):
    """Patches without a phenomenon equal the view, except for JPEG."""
    for patch in variant.patches:
        if not patch.phenomenon:
            box = patch.box
            tissue = views[1].grey[box.row : box.row + box.height, box.column : box.column + box.width]
            assert np.abs(np.asarray(Image.open(io.BytesIO(patch.image)), dtype=float) - tissue).mean() < 3.0


def test_labels_agree_with_phenomena(variant):
    """Spiculated masses and pleomorphic calcifications are cancer, the other two benign. No phenomenon is normal."""
    labels = {
        "": "normal",
        "spiculated_mass": "cancer",
        "pleomorphic_calcifications": "cancer",
        "circumscribed_mass": "benign",
        "calcified_vessel": "benign",
    }
    assert {phenomenon: SAMPLE_CLASSES[label_of(phenomenon)] for phenomenon in labels} == labels
    assert all(SAMPLE_CLASSES[patch.label] == labels[patch.phenomenon] for patch in variant.patches)
    assert {patch.split for patch in variant.patches} == {SPLIT_OF_PATIENT[variant.mammogram.patient]}
    with pytest.raises(InvalidInput, match="moon"):
        label_of("moon")


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


def test_a_sample_without_variants_is_refused():
    """Fewer than one variant raises InvalidInput."""
    with pytest.raises(InvalidInput, match="0 variants"):
        next(sample_mammograms_and_patches(variants=0))
