"""Pictures per second of the rendering service's job, against the original's way of making them.

Both make pictures of the same patches under maps of the same size. The original also forwards the top patches of each
unit again before that. This is not counted here: `bench extraction` counts it.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from bench.floor import render_groups
from bench.machine import await_quiet, machine_facts
from bench.original import save_pictures
from bench.tissue import SPLIT, open_tissue, store_tissue, stored_manifest
from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.work.plan_options import PictureFormat, PictureKind
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, NetworkRef, put_content
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.specs import RenderSpec

SIZE = 227
LAYER = "conv5"
MAP_SIDE = 13
"""Side of the maps of AlexNet's conv5."""
TOP = 64
TARGET, TARGET_RATIO = 2500, 10
UNITS_OF_OTHERS = 32
"""Units that are also rendered in another kind or format."""


@dataclass(frozen=True)
class Sizes:
    """The size of the bench: `rounds` rounds in which both ways take turns, ours over all units, the original's over a
    few. `sides` are the sides of the stored patches. The first one counts."""

    sides: tuple[int, ...]
    patches: int
    units: int
    original_units: int
    rounds: int


FULL = Sizes(sides=(630, 320), patches=1024, units=256, original_units=16, rounds=5)
QUICK = Sizes(sides=(630,), patches=256, units=64, original_units=4, rounds=2)


def bench_rendering(sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts() | {"busy_before": []}
    settings = RenderingSettings()
    by_side = {}
    for side in sizes.sides:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            stored = StoredUnits(store_tissue(Path(folder) / "tissue", side, sizes.patches), sizes)
            machine["busy_before"].append(await_quiet())
            by_side[str(side)] = _measure(stored, sizes, settings)
    figures = by_side[str(sizes.sides[0])]
    return {"machine": machine, "size": SIZE, "top": TOP, "units": sizes.units, "patches": sizes.patches} | {
        **figures,
        "target": TARGET,
        "target_ratio": TARGET_RATIO,
        "by_side": by_side,
    }


class StoredUnits:
    """An extraction of one layer with random maps, stored below the folder of a data set of tissue. Each map is active
    at one place."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.url = f"folder://{folder / 'store'}"
        self.tissue = open_tissue(folder)
        generator = np.random.default_rng(7)
        self.ids = np.stack([generator.choice(sizes.patches, TOP, replace=False) for _ in range(sizes.units)])
        self.maps = draw_maps(generator, sizes.units)
        self.extraction = self._store(open_blobs(self.url), stored_manifest(folder))

    def _store(self, blobs: Blobs, dataset: ObjectRef) -> ObjectRef:
        units = len(self.maps)
        flat = self.maps.reshape(units, TOP, -1)
        places = np.stack(np.unravel_index(flat.argmax(2), (MAP_SIDE, MAP_SIDE)), 2).astype(np.int32)
        state = {"values": flat.max(2).astype(np.float32), "ids": self.ids, "positions": places, "maps": self.maps}
        top = put_content(blobs, "bench", "top.safetensors", save_arrays(state))
        layer = ExtractedLayer(
            name=LAYER, module=LAYER, units=units, height=MAP_SIDE, width=MAP_SIDE, top=top, sample=top, maxima=(),
            correlation=top, statistics=top, ranking=top, ranking_method="none",
        )  # fmt: skip
        network = NetworkRef(architecture="bench", classes=(), run_id="bench", checkpoint_id="bench", checkpoint=top)
        manifest = ExtractionManifest(
            extraction_id="bench", network=network, image_size=SIZE, dataset=dataset, split=SPLIT,
            patches=len(self.tissue.files), top_k=TOP, layers=(layer,),
        )  # fmt: skip
        return put_content(blobs, "bench", "manifest.json", manifest.model_dump_json().encode())


def draw_maps(generator: np.random.Generator, units: int) -> NDArray[np.float16]:
    """Return (units, TOP, MAP_SIDE, MAP_SIDE) maps by falling maximum: one bright place of two to four cells, and
    noise."""
    grid = np.arange(MAP_SIDE)
    rows, columns, widths = (
        generator.uniform(low, high, (units, TOP, 1, 1)) for low, high in ((0, 13), (0, 13), (1, 2))
    )
    distance = ((grid[:, None] - rows) ** 2 + (grid - columns) ** 2) / widths**2
    maps = np.exp(-distance) + generator.normal(0, 0.05, distance.shape)
    maps *= np.linspace(2, 1, TOP)[:, None, None] / maps.max((2, 3), keepdims=True)
    return maps.astype(np.float16)


def _measure(stored: StoredUnits, sizes: Sizes, settings: RenderingSettings) -> dict[str, Any]:
    """Return pictures per second for patches of one side: the best round of each way, and all rounds."""
    ours, original = [], []
    for number in range(sizes.rounds):
        ours.append(_time_ours(stored, sizes.units, settings, f"ours-{number}"))
        original.append(_time_original(stored, sizes.original_units, number))
    few = min(UNITS_OF_OTHERS, sizes.units)
    others = {
        "webp_pictures_s": _time_ours(stored, few, settings, "webp", format="webp"),
        "heat_map_pictures_s": _time_ours(stored, few, settings, "heat_map", kind="heat_map"),
    }
    return {
        "ours_pictures_s": max(ours),
        "original_pictures_s": max(original),
        "ratio": round(max(ours) / max(original), 2),
        "ratio_median": round(statistics.median(a / b for a, b in zip(ours, original, strict=True)), 2),
        **others,
        "rounds": {"ours": ours, "original": original},
    }


def _time_ours(
    stored: StoredUnits,
    units: int,
    settings: RenderingSettings,
    name: str,
    kind: PictureKind = "overlay",
    format: PictureFormat = "jpeg",
) -> int:
    """Render group by group as the service does: from stored state and shards to stored packs, with nothing in memory
    beforehand. Return pictures per second."""
    scratch = stored.folder / name
    scratch.mkdir()
    spec = RenderSpec(
        blobs_url=stored.url, scratch=str(scratch), rendering_id=name, extraction=stored.extraction, layer=LAYER,
        first=0, last=0, size=SIZE, kind=kind, format=format, quality=settings.quality, workers=settings.workers,
        device=settings.shared.device,
    )  # fmt: skip
    begin = time.monotonic()
    pictures = sum(group.pictures for group in render_groups(spec, units, settings.group_units))
    return round(pictures / (time.monotonic() - begin))


def _time_original(stored: StoredUnits, units: int, number: int) -> int:
    """Render unit by unit: open its 64 files, resize, multiply by the mask, save 64 files. Return pictures per
    second."""
    files = [path for path, _ in stored.tissue.files]
    begin, pictures = time.monotonic(), 0
    for unit in range(units):
        top = [files[patch_id] for patch_id in stored.ids[unit]]
        maps = stored.maps[unit].astype(np.float32)
        pictures += save_pictures(top, maps, SIZE, stored.folder / f"original-{number}" / f"unit_{unit + 1:04d}")
    return round(pictures / (time.monotonic() - begin))
