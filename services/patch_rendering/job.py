"""What the rendering service's child process does: render a group of units, from the maps that extraction kept."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.jobs import Job
from services.imaging.dataset import Dataset, LocalPatches, fetch_object
from services.imaging.decode import decode_grey, resize_grey
from services.imaging.manifests import (
    PICTURE_SCHEMA,
    UNIT_SCHEMA,
    ExtractionManifest,
    RenderedGroup,
    put_content,
    write_table,
)
from services.patch_rendering.overlay import overlay
from services.patch_rendering.sheet import contact_sheet, encode_jpeg

BUCKET = "patch-rendering"
WORKERS = 2
PATCHES_KEPT = 4096
"""Decoded source patches that stay in memory: units of a layer share many of them."""


@dataclass(frozen=True)
class TopUnits:
    """The extracted state of units `first`, first + 1, …: values (n, k), ids (n, k), maps (n, k, height, width)."""

    first: int
    values: NDArray[np.float32]
    ids: NDArray[np.int64]
    maps: NDArray[np.float16]


class SourcePatches:
    """Patches at the size of pictures, each decoded once while it stays in memory."""

    def __init__(self, dataset: Dataset, local: LocalPatches, size: int) -> None:
        self.dataset, self.size = dataset, size
        self._local = local
        self._pixels = lru_cache(maxsize=PATCHES_KEPT)(self._decode)

    def stack(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The (n, size, size) grey values of patches."""
        return np.stack([self._pixels(int(patch_id)) for patch_id in ids])

    def _decode(self, patch_id: int) -> NDArray[np.uint8]:
        name = f"patch {patch_id} of {self.dataset.manifest.name}"
        return np.asarray(resize_grey(decode_grey(self._local.read(patch_id), name), self.size))


def render_units(
    job: Job,
    *,
    blobs_url: str,
    scratch: str,
    rendering_id: str,
    extraction: dict[str, Any],
    layer: str,
    first: int,
    last: int,
    size: int,
) -> dict[str, Any]:
    """Store the pictures of units `first` to `last` of a layer; returns the group and its number of pictures."""
    blobs = open_blobs(blobs_url)
    extraction_ref = ObjectRef.model_validate(extraction)
    manifest = ExtractionManifest.model_validate_json(read_verified(blobs, extraction_ref))
    top_ref = next(entry.top for entry in manifest.layers if entry.name == layer)
    units = read_units(fetch_object(blobs, top_ref, Path(scratch)), first, last)
    source = _open_source(blobs_url, scratch, manifest.dataset, manifest.split, size)
    rendered: list[list[bytes]] = []
    pool = ThreadPoolExecutor(WORKERS, "render")
    try:
        for jpegs in pool.map(lambda index: render_unit(units, index, source), range(len(units.ids))):
            rendered.append(jpegs)
            job.report(done=count_pictures(rendered))
            job.leave_if_told()
    finally:
        pool.shutdown(cancel_futures=True)  # what is not rendered yet is not wanted when the job leaves
    folder = f"renderings/{rendering_id}/{layer}/{first:05d}"
    group = store_group(blobs, folder, units, rendered, source)
    return {"group": group.model_dump(), "pictures": count_pictures(rendered)}


def read_units(path: Path, first: int, last: int) -> TopUnits:
    """The state of some units of a layer, without reading the others."""
    with safe_open(path, framework="numpy") as file:
        part = {name: file.get_slice(name)[first : last + 1] for name in ("values", "ids", "maps")}
    return TopUnits(first, **part)


def render_unit(units: TopUnits, index: int, source: SourcePatches) -> list[bytes]:
    """The JPEGs of one unit: its contact sheet, then its pictures by rank. A silent unit has none."""
    best = float(units.values[index, 0])
    if best <= 0:
        return []
    pictures = overlay(source.stack(units.ids[index]), units.maps[index], best)
    return [contact_sheet(pictures), *map(encode_jpeg, pictures)]


def count_pictures(rendered: list[list[bytes]]) -> int:
    """Pictures of rendered units, contact sheets not counted."""
    return sum(len(jpegs) - 1 for jpegs in rendered if jpegs)


def store_group(
    blobs: Blobs, folder: str, units: TopUnits, rendered: list[list[bytes]], source: SourcePatches
) -> RenderedGroup:
    """Put the JPEGs of a group into one object, and tables over it beside it."""
    pack = io.BytesIO()
    unit_rows: list[dict[str, Any]] = []
    picture_rows: list[dict[str, Any]] = []
    for index, jpegs in enumerate(rendered):
        places = []
        for jpeg in jpegs:
            places.append((pack.tell(), len(jpeg)))
            pack.write(jpeg)
        sheet = places[0] if places else (pack.tell(), 0)
        unit_rows.append(
            {
                "unit": units.first + index,
                "best": float(units.values[index, 0]),
                "silent": not places,
                "sheet_offset": sheet[0],
                "sheet_size": sheet[1],
            }
        )
        picture_rows += _picture_rows(units, index, places[1:], source.dataset)
    return RenderedGroup(
        first=units.first,
        last=units.first + len(rendered) - 1,
        pack=put_content(blobs, BUCKET, f"{folder}/pictures.pack", pack.getvalue()),
        pictures=put_content(blobs, BUCKET, f"{folder}/pictures.parquet", write_table(picture_rows, PICTURE_SCHEMA)),
        units=put_content(blobs, BUCKET, f"{folder}/units.parquet", write_table(unit_rows, UNIT_SCHEMA)),
    )


def _picture_rows(units: TopUnits, index: int, places: list[tuple[int, int]], dataset: Dataset) -> list[dict[str, Any]]:
    patches = dataset.index.take(units.ids[index][: len(places)]).to_pylist()
    copied = ("patch_id", "label", "phenomenon", "mammogram", "row", "column", "height", "width")
    return [
        {name: patch[name] for name in copied}
        | {
            "unit": units.first + index,
            "rank": rank,
            "value": float(value),
            "patch": patch["name"],
            "offset": offset,
            "size": size,
        }
        for rank, (patch, value, (offset, size)) in enumerate(
            zip(patches, units.values[index], places, strict=False), 1
        )
    ]


@lru_cache(maxsize=1)
def _open_source(blobs_url: str, scratch: str, dataset: ObjectRef, split: str, size: int) -> SourcePatches:
    """The source patches of a split, kept from one group to the next."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, dataset)
    return SourcePatches(data, LocalPatches(data, blobs, split, Path(scratch)), size)
