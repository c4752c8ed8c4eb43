"""How well the breast and the pectoral muscle are found, against hand-drawn labels of tissue."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.common.errors import InvalidInput
from services.imaging.breast import find_breast
from services.imaging.pectoral import without_muscle

BACKGROUND, MUSCLE = 96, 224
"""Grey levels of label images: background below the first, pectoral muscle above the second, other tissue between."""


def bench_breast(folder: Path) -> dict[str, Any]:
    """Dice coefficients of breast and muscle over the images of a folder: `images/<stem>.png`, with their labels as
    `tissue_labels/<stem>_LI.png`. InvalidInput without images."""
    pairs = list(_pairs(folder))
    if not pairs:
        raise InvalidInput(f"{folder} has no images/*.png with labels in tissue_labels")
    breasts, muscles = {}, {}
    for name, grey, labels in pairs:
        breast = find_breast(grey)
        mask = breast.full()
        breasts[name] = _dice(mask, labels > BACKGROUND)
        muscles[name] = _dice(mask & ~without_muscle(grey, breast).full(), labels > MUSCLE)
    return {"images": len(pairs)} | _figures("breast", breasts) | _figures("muscle", muscles)


def _pairs(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    for path in sorted((folder / "images").glob("*.png")):
        labels = folder / "tissue_labels" / f"{path.stem}_LI.png"
        yield path.stem, np.asarray(Image.open(path).convert("L")), np.asarray(Image.open(labels).convert("L"))


def _dice(found: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> float:
    return float(2 * (found & drawn).sum() / max(1, found.sum() + drawn.sum()))


def _figures(name: str, values: dict[str, float]) -> dict[str, Any]:
    worst = min(values, key=values.__getitem__)
    return {
        f"{name}_dice_mean": round(fmean(values.values()), 4),
        f"{name}_dice_median": round(median(values.values()), 4),
        f"{name}_dice_worst": round(values[worst], 4),
        f"{name}_worst": worst,
    }
