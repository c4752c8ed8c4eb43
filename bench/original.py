"""The original's way of making pictures of units, as plain as the original. The product is measured against it.

Every image is forwarded once for the maxima. Then the top 64 images of each unit are forwarded again as one batch, and
each picture is made from the patch and the unit's map alone. See generate_unitsegments of ddsm-visual-primitives; none
of its code is copied.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from bench.contenders import PatchFiles
from services.imaging.capture import capture
from services.imaging.prefetch import prefetch
from services.imaging.preprocessing import Preprocessing

BATCH = 32
THRESHOLD = 0.2
DIMMED = 0.2


def largest_first(
    network: nn.Module, layers: dict[str, str], files: Sequence[Path], preprocessing: Preprocessing
) -> dict[str, NDArray[np.int64]]:
    """Run the first pass: return by layer the (files, units) numbers of the files, sorted for each unit by falling
    spatial maximum."""
    maxima: dict[str, list[NDArray[np.float32]]] = {name: [] for name in layers}
    patches = PatchFiles([(path, 0) for path in files], preprocessing)
    numbers = range(len(files))

    def read(first: int) -> Tensor:
        return torch.stack([patches[number][0] for number in numbers[first : first + BATCH]])

    with capture(network, layers) as acts, torch.no_grad():
        for images in prefetch(read, numbers[::BATCH]):  # the original's loaders decode ahead too
            network(images)
            for name in layers:
                maxima[name].append(acts[name].numpy().max((2, 3)))
    return {name: np.concatenate(parts).argsort(0)[::-1] for name, parts in maxima.items()}


def forward_again(
    network: nn.Module, layer: dict[str, str], unit: int, files: Sequence[Path], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Run the second pass of one unit: return the (files, height, width) maps of its top files, one batch."""
    patches = PatchFiles([(path, 0) for path in files], preprocessing)
    images = torch.stack([patches[number][0] for number in range(len(files))])
    with capture(network, layer) as acts, torch.no_grad():
        network(images)
        (maps,) = acts.values()
    return np.asarray(maps[:, unit])


def save_pictures(files: Sequence[Path], maps: NDArray[np.float32], size: int, folder: Path) -> int:
    """Save the pictures of one unit on its top files, largest first. Return the number of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    best = maps[0].max()
    for rank, (path, map_) in enumerate(zip(files, maps, strict=True), 1):
        patch = np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):  # the original makes pictures of silent units too
            scaled = map_ / best
        resized = np.asarray(Image.fromarray(scaled).resize((size, size), Image.Resampling.BILINEAR))
        keep = (resized > THRESHOLD)[:, :, None]
        picture = np.where(keep, patch, patch * DIMMED).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{rank:04d}_{path.stem}.jpg")
    return len(files)
