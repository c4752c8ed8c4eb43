"""Cuts a mammogram into labelled patches."""

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from services.imaging.blocks import Grey
from services.imaging.patch_grid import BreastCover, patch_grid
from services.imaging.patches import Box, Lesion, Mammogram, Patch, PatchName
from services.imaging.png import encode_png16
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.labelling import LabelledPatch, Labeller
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.report import ImportReport

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Cut:
    """A mammogram of the data set, its outlines, and its patches."""

    mammogram: Mammogram
    lesions: tuple[Lesion, ...]
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class Window:
    """A place of the grid: its box, and the fraction as a patch's name has it."""

    box: Box
    fraction: str


def cells_of(mammogram: RawMammogram, recipe: CutRecipe) -> Iterator[Window]:
    """Yield the places that the source prescribes. Their names have the first fraction of the recipe."""
    for cell in mammogram.cells:
        yield Window(cell, _number(recipe.fractions[0]))


def windows(height: int, width: int, recipe: CutRecipe) -> Iterator[Window]:
    """Yield the places of patches, by fraction, row and column."""
    for fraction in recipe.fractions:
        for box in patch_grid(height, width, fraction, recipe.stride):
            yield Window(box, _number(fraction))


def choose(
    mammogram: RawMammogram,
    breast: BreastCover,
    labeller: Labeller,
    size: tuple[int, int],
    recipe: CutRecipe,
    report: ImportReport,
) -> list[tuple[Window, LabelledPatch]]:
    """The patches of a mammogram that are in the breast, or where the source prescribes, and have a label. The report
    counts those without a label by reason."""
    on_grid = (one for one in windows(*size, recipe) if breast.share(one.box) >= recipe.breast_cover)
    chosen = []
    for window in cells_of(mammogram, recipe) if mammogram.cells else on_grid:
        labelled = labeller.label(window.box)
        if labelled.label is None:
            report.count(f"patches left out: {labelled.reason}")
        else:
            chosen.append((window, labelled))
    return _with_few_normal(chosen, mammogram.name, recipe)


def encode_patches(
    mammogram: RawMammogram, grey: Grey, split: str, chosen: Sequence[tuple[Window, LabelledPatch]], recipe: CutRecipe
) -> Iterator[Patch]:
    """Encode patches: 16 bits as PNG, 8 bits as JPEG."""
    suffix = ".png" if grey.dtype == np.uint16 else ".jpg"
    for window, labelled in chosen:
        box = window.box
        name = PatchName(mammogram.name, box, window.fraction, _number(recipe.stride), suffix)
        pixels = grey[box.row : box.row + box.height, box.column : box.column + box.width]
        assert labelled.label is not None
        yield Patch(
            name=str(name),
            split=split,
            label=labelled.label,
            patient=mammogram.patient,
            mammogram=mammogram.name,
            box=box,
            image=encode(pixels, recipe.largest_side),
            phenomenon=labelled.phenomenon,
        )


def encode(pixels: Grey, largest_side: int = 0) -> bytes:
    """Encode grey pixels, shrunk to `largest_side` unless it is 0: 16 bits as PNG, 8 bits as JPEG."""
    shown = _shrunk(pixels, largest_side)
    if shown.dtype == np.uint16:
        return encode_png16(shown.astype(np.uint16, copy=False))
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _shrunk(pixels: Grey, largest_side: int) -> Grey:
    factor = largest_side / max(pixels.shape)
    if not 0 < factor < 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def _with_few_normal(
    chosen: list[tuple[Window, LabelledPatch]], name: str, recipe: CutRecipe
) -> list[tuple[Window, LabelledPatch]]:
    normal = [place for place, (_, labelled) in enumerate(chosen) if not labelled.phenomenon]
    if not recipe.normal_patches or len(normal) <= recipe.normal_patches:
        return chosen
    kept = set(random.Random(f"{recipe.seed}/{name}").sample(normal, recipe.normal_patches))
    return [one for place, one in enumerate(chosen) if place in kept or one[1].phenomenon]


def _number(fraction: float) -> str:
    """A fraction as the original's names write it: 0.125, 1.0."""
    return str(fraction)
