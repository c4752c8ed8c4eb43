"""The kinds of pictures, compared with simple and slow ways of drawing them."""

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.common.blobs import FolderBlobs
from services.common.errors import NotFound
from services.common.work.plan_options import PictureKind
from services.imaging.dataset import Dataset
from services.imaging.dataset_writer import DatasetWriter
from services.imaging.manifests import ReceptiveField
from services.imaging.patches import Box, Mammogram, Patch
from services.patch_rendering.contour import LINE, contour
from services.patch_rendering.crop import crop, visible_part
from services.patch_rendering.heat_map import ANCHORS, LEVELS, OPAQUE, heat_map
from services.patch_rendering.kinds import KINDS
from services.patch_rendering.outlined import outlined
from services.patch_rendering.overlay import DIMMED, LEAST_KEPT, THRESHOLD
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.unit_maps import UnitMaps

SIZE = 48


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> SourcePatches:
    """Two patches of 60 pixels, at (20, 10) and (100, 40) of a mammogram of 200 x 120, and one without a mammogram."""
    full = np.random.default_rng(0).integers(20, 240, (200, 120), dtype=np.uint8)
    with DatasetWriter(FolderBlobs(tmp_path), "training", "test", ("a",)) as writer:
        for number, (row, column, name) in enumerate(((20, 10, "m"), (100, 40, "m"), (0, 0, "none"))):
            cut = jpeg(full[row : row + 60, column : column + 60])
            writer.add_patch(Patch(f"p{number}", "val", 0, "p", name, Box(row, column, 60, 60), cut))
        writer.add_mammogram(Mammogram("m", "p", "LEFT", "CC", 200, 120, jpeg(full)))
        manifest, _ = writer.finish()
    dataset = Dataset(FolderBlobs(tmp_path), manifest)
    return SourcePatches(dataset, dataset.read, SIZE)


def unit_maps(best: float, maps: np.ndarray, field: ReceptiveField | None = None) -> UnitMaps:
    return UnitMaps(
        0, best, np.arange(len(maps)), np.ones(len(maps), np.float32), np.ones((len(maps), 2), np.int32),
        maps.astype(np.float16), field, 64,
    )  # fmt: skip


def test_every_kind_is_drawn(source: SourcePatches) -> None:
    """KINDS contains every kind of the schemas. Each draws n pictures of the right size, grey or in colour."""
    assert tuple(KINDS) == get_args(PictureKind)
    unit = unit_maps(1.0, np.random.default_rng(0).random((2, 4, 4)))
    shapes = {name: draw(unit, source).shape for name, draw in KINDS.items()}
    grey, colour = (2, SIZE, SIZE), (2, SIZE, SIZE, 3)
    assert shapes == {"overlay": grey, "heat_map": colour, "contour": colour, "crop": grey, "mammogram": colour}


@pytest.mark.parametrize("best", [-1.0, 0.0, 1e-9, 1e-40])
def test_an_inactive_unit_has_nothing_marked(source: SourcePatches, best: float) -> None:
    """Its pictures are dimmed everywhere, or have no heat and no line, without a division by zero; also for maps that
    fp16 cannot represent."""
    silent = unit_maps(best, np.full((2, 4, 4), best))
    patches = source.stack(silent.ids)
    assert not silent.active
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(KINDS["overlay"](silent, source), DIMMED[patches])
        for kind in ("heat_map", "contour"):
            np.testing.assert_array_equal(KINDS[kind](silent, source), np.stack([patches] * 3, -1))


def test_values_beyond_fp16_are_scaled_by_the_clipped_value() -> None:
    """A best activation of a million, whose map is clipped at 65504, still marks its position."""
    assert unit_maps(1e6, np.full((1, 2, 2), 65504.0)).shares.min() == 1


def test_the_smallest_value_that_is_not_dimmed_is_exact() -> None:
    """In float32 it is above the threshold, and the next smaller float64 is not."""
    assert np.float32(LEAST_KEPT) > THRESHOLD
    assert np.float32(np.nextafter(LEAST_KEPT, 0)) == THRESHOLD


def test_a_heat_map_is_a_blend(source: SourcePatches) -> None:
    """Each pixel is the level's colour over the grey value, with an opacity proportional to the level."""
    rng = np.random.default_rng(1)
    grey, share = rng.integers(0, 256, (2, 9, 9), dtype=np.uint8), rng.uniform(-0.5, 1.5, (2, 9, 9))
    found = heat_map(grey, share.copy())
    for place in np.ndindex(grey.shape):
        level = int(min(max(share[place], 0), 1) * (LEVELS - 1) + 0.5) / (LEVELS - 1)
        for channel in range(3):
            colour = np.interp(level, np.linspace(0, 1, len(ANCHORS)), ANCHORS[:, channel])
            assert found[(*place, channel)] == round(OPAQUE * level * colour + (1 - OPAQUE * level) * grey[place])
    lightness = ANCHORS @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 0).all(), "a higher level must look lighter"


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_contour_runs_where_the_mask_changes(side: int, seed: int) -> None:
    """A pixel belongs to the line if one of its four neighbours is on the other side of the mask, else to the patch."""
    rng = np.random.default_rng(seed)
    grey, keep = rng.integers(0, 200, (1, side, side), dtype=np.uint8), rng.random((1, side, side)) > 0.5
    found = contour(grey, keep)
    for row in range(side):
        for column in range(side):
            neighbours = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            inside = [place for place in neighbours if min(place) >= 0 and max(place) < side]
            line = any(keep[0][place] != keep[0, row, column] for place in inside)
            expected = LINE if line else (grey[0, row, column],) * 3
            assert tuple(found[0, row, column]) == tuple(expected)


@settings(max_examples=50)
@given(st.integers(1, 90), st.floats(0.5, 32), st.floats(-40, 20), st.integers(0, 7), st.integers(0, 7))
def test_a_crop_shows_the_receptive_field(size: int, stride: float, start: float, row: int, column: int) -> None:
    """The crop is a part of the image, no larger than the field; if the field is inside, the crop is all of it."""
    field = ReceptiveField(size=size, stride=stride, start=start)
    left, top, right, bottom = visible_part(field, (row, column), 64)
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    edge = (start + column * stride, start + column * stride + size)
    if edge[0] < 64 and edge[1] > 0 and start + row * stride < 64 and start + row * stride + size > 0:
        assert (left, right) == (max(edge[0], 0) / 64, min(edge[1], 64) / 64)
    picture = crop(Image.fromarray(np.full((30, 30), 200, np.uint8)), (left, top, right, bottom), SIZE)
    wide, high = (picture[0] == 200).sum(), (picture[:, 0] == 200).sum()
    assert max(wide, high) == SIZE
    assert abs(wide / high - (right - left) / (bottom - top)) <= max(wide, high) / min(wide, high) / min(wide, high)


def test_a_crop_without_a_field_is_the_full_patch(source: SourcePatches) -> None:
    """The crop is the full patch for an unknown field, and for a field that is larger on all sides."""
    for field in (None, ReceptiveField(size=500, stride=8, start=-250)):
        unit = unit_maps(1.0, np.ones((2, 4, 4)), field)
        np.testing.assert_array_equal(KINDS["crop"](unit, source), source.stack(unit.ids))


def test_a_crop_is_cut_from_the_patch(source: SourcePatches) -> None:
    """The crop for a field of half the input is that half of the patch, enlarged from the patch's own pixels."""
    half = unit_maps(1.0, np.ones((1, 4, 4)), ReceptiveField(size=32, stride=16, start=0))
    expected = source.full_size(0).crop((15, 15, 45, 45)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    found = KINDS["crop"](half, source)[0]
    assert np.abs(found.astype(int) - np.asarray(expected))[2:-2, 2:-2].max() <= 1


def test_a_patch_is_outlined_in_its_mammogram(source: SourcePatches) -> None:
    """The line surrounds the patch's box at the preview's scale; all other pixels are unchanged. A patch without a
    mammogram raises NotFound."""
    preview, box = source.mammogram(1)
    assert (preview.size, box) == ((29, 48), Box(24, 10, 14, 14))
    picture = outlined(preview, box, SIZE)
    before = (SIZE - 29) // 2
    line = (picture == LINE).all(2)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max()) == (22, 39)
    assert (columns.min(), columns.max()) == (before + 8, before + 25)
    assert not line[24:38, before + 10 : before + 24].any()
    plain = np.zeros((SIZE, SIZE), np.uint8)
    plain[:, before : before + 29] = np.asarray(preview)
    np.testing.assert_array_equal(picture[~line], np.stack([plain[~line]] * 3, 1))
    with pytest.raises(NotFound, match="has no mammogram 'none', which patch p2 was cut from"):
        source.mammogram(2)
