"""What the rendering service's child process does: render a group of units, from the maps that extraction kept."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.common.blobs import Blobs, ObjectRef, open_blobs
from services.common.machine.cores import working_threads
from services.common.observability.logs import get_logger
from services.common.work.jobs import Job
from services.imaging.dataset import Dataset, LocalPatches, fetch_object
from services.imaging.manifests import PICTURE_SCHEMA, UNIT_SCHEMA, RenderedGroup, put_content, write_table
from services.imaging.tensors import local_tensors
from services.patch_rendering.encoding import Encoding
from services.patch_rendering.gpu import decode_on_gpu
from services.patch_rendering.kinds import KINDS, Draw
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.unit_maps import UnitMaps, read_extraction, read_top_maps

log = get_logger(__name__)

BUCKET = "patch-rendering"


@dataclass(frozen=True)
class RenderedUnit:
    """A unit on its top patches, and its pictures by rank; a silent one has neither pictures nor a sheet."""

    unit_maps: UnitMaps
    sheet: bytes
    pictures: list[bytes]


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
    kind: str = "overlay",
    format: str = "jpeg",
    quality: int = 85,
    workers: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Store the pictures of units `first` to `last` of a layer; returns the group and its number of pictures."""
    blobs = open_blobs(blobs_url)
    manifest = read_extraction(blobs, ObjectRef.model_validate(extraction))
    extracted = next(entry for entry in manifest.layers if entry.name == layer)
    source = _open_source(blobs_url, scratch, manifest.dataset, manifest.split, size, device)
    draw, encoding = KINDS[kind], Encoding(format, quality)
    rendered: list[RenderedUnit] = []
    pool = ThreadPoolExecutor(workers or working_threads(), "render")
    top = local_tensors(fetch_object(blobs, extracted.top, Path(scratch)))

    def render(unit: int) -> RenderedUnit:
        return render_unit(read_top_maps(top, extracted, manifest.image_size, unit), source, draw, encoding)

    try:
        for unit in pool.map(render, range(first, last + 1)):
            rendered.append(unit)
            job.report(done=count_pictures(rendered))
            job.stop_if_requested()
    finally:
        pool.shutdown(cancel_futures=True)  # what is not rendered yet is not wanted when the job leaves
    folder = f"renderings/{rendering_id}/{layer}/{first:05d}"
    group = store_group(blobs, folder, rendered, source.dataset)
    return {"group": group.model_dump(), "pictures": count_pictures(rendered)}


def render_unit(unit_maps: UnitMaps, source: SourcePatches, draw: Draw, encoding: Encoding) -> RenderedUnit:
    """All pictures of a unit, and its contact sheet."""
    if not unit_maps.shown:
        return RenderedUnit(unit_maps, b"", [])
    pictures = draw(unit_maps, source)
    return RenderedUnit(unit_maps, encoding.sheet(pictures), encoding.encode(pictures))


def count_pictures(rendered: Sequence[RenderedUnit]) -> int:
    """Pictures of rendered units, contact sheets not counted."""
    return sum(len(unit.pictures) for unit in rendered)


def store_group(blobs: Blobs, folder: str, rendered: Sequence[RenderedUnit], dataset: Dataset) -> RenderedGroup:
    """Put the pictures of a group into one object, and tables over it beside it."""
    pack = io.BytesIO()
    unit_rows: list[dict[str, Any]] = []
    picture_rows: list[dict[str, Any]] = []
    for unit in rendered:
        unit_rows.append(
            {
                "unit": unit.unit_maps.unit,
                "best": unit.unit_maps.best,
                "silent": not unit.pictures,
                "sheet_offset": pack.tell(),
                "sheet_size": len(unit.sheet),
            }
        )
        pack.write(unit.sheet)
        places = []
        for picture in unit.pictures:
            places.append((pack.tell(), len(picture)))
            pack.write(picture)
        picture_rows += _picture_rows(unit.unit_maps, places, dataset)
    return RenderedGroup(
        first=rendered[0].unit_maps.unit,
        last=rendered[-1].unit_maps.unit,
        pack=put_content(blobs, BUCKET, f"{folder}/pictures.pack", pack.getvalue()),
        pictures=put_content(blobs, BUCKET, f"{folder}/pictures.parquet", write_table(picture_rows, PICTURE_SCHEMA)),
        units=put_content(blobs, BUCKET, f"{folder}/units.parquet", write_table(unit_rows, UNIT_SCHEMA)),
    )


def _picture_rows(unit_maps: UnitMaps, places: list[tuple[int, int]], dataset: Dataset) -> list[dict[str, Any]]:
    patches = dataset.index.take(unit_maps.ids[: len(places)]).to_pylist()
    copied = ("patch_id", "label", "phenomenon", "mammogram", "row", "column", "height", "width")
    return [
        {name: patch[name] for name in copied}
        | {
            "unit": unit_maps.unit,
            "rank": rank,
            "value": float(value),
            "patch": patch["name"],
            "offset": offset,
            "size": size,
        }
        for rank, (patch, value, (offset, size)) in enumerate(zip(patches, unit_maps.values, places, strict=False), 1)
    ]


@lru_cache(maxsize=1)
def _open_source(blobs_url: str, scratch: str, dataset: ObjectRef, split: str, size: int, device: str) -> SourcePatches:
    """The source patches of a split, kept from one group to the next."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, dataset)
    read, together = LocalPatches(data, blobs, split, Path(scratch)).read, decode_on_gpu(device, size)
    log.info(
        "patches are opened", dataset=data.manifest.name, split=split, decoded_on="CPU" if together is None else "GPU"
    )
    return SourcePatches(data, read, size, together=together)
