"""The places of patches, and encoded patches."""

import io

import numpy as np
import pytest
from PIL import Image

from services.imaging.breast import find_breast
from services.imaging.patch_grid import BreastCover
from services.imaging.patches import Box, parse_patch_name
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.cutter import choose, encode, encode_patches, windows
from services.training.raw.cutting.labelling import LabelledPatch, Labeller
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.report import ImportReport
from tests.fakes.raw.drawn import HEIGHT, WIDTH, drawn_breast

NORMAL = RawMammogram("benign_01-B_3099_1.LEFT_CC.LJPEG.1", "m.png", "B_3099", "B_3099", "LEFT", "CC", all_marked=True)


def test_the_grid_is_that_of_the_original() -> None:
    """A side is a part of the shorter side, and the step half of it: the example of the original has 630 of 2,520."""
    boxes = [one.box for one in windows(4000, 2520, CutRecipe(fractions=(0.25,)))]
    assert boxes[:2] == [Box(0, 0, 630, 630), Box(0, 315, 630, 630)]
    assert len(boxes) == 11 * 7
    assert max(box.row + box.height for box in boxes) <= 4000
    assert len(list(windows(4000, 2520, CutRecipe()))) == 5 * 3 + 11 * 7 + 24 * 15
    assert list(windows(3, 3, CutRecipe(fractions=(0.125,)))) == []


def test_patches_lie_in_the_breast() -> None:
    """Each patch has at least the wanted part of breast, and no such place is left out; the part is that of the mask at
    full size to a hundredth."""
    breast = find_breast(drawn_breast())
    mask, cover = breast.full(), BreastCover(breast)
    recipe = CutRecipe(fractions=(0.25, 0.125))
    for window in windows(HEIGHT, WIDTH, recipe):
        box = window.box
        share = mask[box.row : box.row + box.height, box.column : box.column + box.width].mean()
        assert cover.share(box) == pytest.approx(share, abs=0.01)
    chosen = choose(NORMAL, cover, Labeller(NORMAL, [], recipe), (HEIGHT, WIDTH), recipe, ImportReport())
    expected = [one for one in windows(HEIGHT, WIDTH, recipe) if cover.share(one.box) >= 0.5]
    assert [window for window, _ in chosen] == expected
    assert expected


def test_few_normal_patches_are_drawn_the_same_way_each_time() -> None:
    """The recipe limits the normal patches of a mammogram; which ones are drawn depends on the seed and the name."""

    def drawn(**options: int) -> list[Box]:
        recipe = CutRecipe(fractions=(0.125,), **options)
        labeller = Labeller(NORMAL, [], recipe)
        cover = BreastCover(find_breast(drawn_breast()))
        return [one.box for one, _ in choose(NORMAL, cover, labeller, (HEIGHT, WIDTH), recipe, ImportReport())]

    everything, few = drawn(), drawn(normal_patches=5)
    assert len(few) == 5 and set(few) < set(everything)
    assert drawn(normal_patches=5) == few != drawn(normal_patches=5, seed=9)
    assert drawn(normal_patches=10_000) == everything


@pytest.mark.parametrize("deep", [True, False])
def test_patches_are_named_and_encoded_as_the_original_does(deep: bool) -> None:
    """16 bits become a PNG with every grey level unchanged, 8 bits a JPEG; names are read back to the same box."""
    grey = drawn_breast(deep=deep)
    [window, *_] = windows(HEIGHT, WIDTH, CutRecipe(fractions=(0.25,)))
    [patch] = encode_patches(NORMAL, grey, "train", [(window, LabelledPatch(2, "mass"))], CutRecipe())
    name = parse_patch_name(patch.name)
    assert (name.mammogram, name.box) == (NORMAL.name, window.box)
    assert patch.name.endswith(f"_imgfrac0.25_stridefrac0.5{'.png' if deep else '.jpg'}")
    assert (patch.label, patch.phenomenon, patch.split, patch.patient) == (2, "mass", "train", "B_3099")
    picture = Image.open(io.BytesIO(patch.image))
    assert (picture.mode, picture.size) == ("I;16" if deep else "L", (50, 50))
    if deep:
        np.testing.assert_array_equal(np.asarray(picture), grey[:50, :50])


@pytest.mark.parametrize("deep", [True, False])
def test_large_patches_are_shrunk_if_wanted(deep: bool) -> None:
    """The largest side bounds the stored picture; smaller ones are not enlarged."""
    grey = drawn_breast(deep=deep)
    assert Image.open(io.BytesIO(encode(grey[:100, :80], 25))).size == (20, 25)
    assert Image.open(io.BytesIO(encode(grey[:20, :20], 25))).size == (20, 20)
    large = np.full((64, 64), 40_000 if deep else 200, grey.dtype)
    assert abs(int(np.asarray(Image.open(io.BytesIO(encode(large, 16))))[8, 8]) - int(large[0, 0])) <= (
        0 if deep else 2
    )
