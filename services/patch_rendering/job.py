"""The job of renderings: renders a group of units from the maps that extraction stored."""

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
from services.patch_rendering.names import BUCKET
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.specs import RENDER_UNITS, RenderedUnits, RenderSpec
from services.patch_rendering.unit_maps import UnitMaps, read_extraction, read_top_maps

log = get_logger(__name__)


@dataclass(frozen=True)
class DrawnUnit:
    """A unit on its top patches, with its pictures by rank. A silent unit has neither pictures nor a sheet."""

    unit_maps: UnitMaps
    sheet: bytes
    pictures: list[bytes]


@RENDER_UNITS.implements
def render_units(job: Job, spec: RenderSpec) -> RenderedUnits:
    """Render the units and store their pictures as one group."""
    blobs = open_blobs(spec.blobs_url)
    extraction = read_extraction(blobs, spec.extraction)
    layer = next(layer for layer in extraction.layers if layer.name == spec.layer)
    source = _open_source(
        spec.blobs_url, spec.scratch, extraction.dataset, extraction.split, spec.size, device=spec.device
    )
    draw, encoding = KINDS[spec.kind], Encoding(spec.format, spec.quality)
    top = local_tensors(fetch_object(blobs, layer.top, Path(spec.scratch)))
    rendered: list[DrawnUnit] = []
    pool = ThreadPoolExecutor(spec.workers or working_threads(), "render")

    def render(unit: int) -> DrawnUnit:
        return draw_unit(read_top_maps(top, layer, extraction.image_size, unit), source, draw, encoding)

    try:
        for unit in pool.map(render, range(spec.first, spec.last + 1)):
            rendered.append(unit)
            job.report(count_pictures(rendered), unit="pictures")
            job.stop_if_requested()
    finally:
        pool.shutdown(cancel_futures=True)  # when the job stops, the other units are not needed
    folder = f"renderings/{spec.rendering_id}/{spec.layer}/{spec.first:05d}"
    group = store_group(blobs, folder, rendered, source.dataset)
    return RenderedUnits(group=group, pictures=count_pictures(rendered))


def draw_unit(unit_maps: UnitMaps, source: SourcePatches, draw: Draw, encoding: Encoding) -> DrawnUnit:
    """Draw all pictures of a unit, and its contact sheet."""
    if not unit_maps.active:
        return DrawnUnit(unit_maps, b"", [])
    pictures = draw(unit_maps, source)
    return DrawnUnit(unit_maps, encoding.sheet(pictures), encoding.encode(pictures))


def count_pictures(rendered: Sequence[DrawnUnit]) -> int:
    """Count the pictures of rendered units, without contact sheets."""
    return sum(len(unit.pictures) for unit in rendered)


def store_group(blobs: Blobs, folder: str, rendered: Sequence[DrawnUnit], dataset: Dataset) -> RenderedGroup:
    """Store the pictures of a group in one object, and the two tables that index it."""
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
        extents = []
        for picture in unit.pictures:
            extents.append((pack.tell(), len(picture)))
            pack.write(picture)
        picture_rows += _picture_rows(unit.unit_maps, extents, dataset)
    return RenderedGroup(
        first=rendered[0].unit_maps.unit,
        last=rendered[-1].unit_maps.unit,
        pack=put_content(blobs, BUCKET, f"{folder}/pictures.pack", pack.getvalue()),
        pictures=put_content(blobs, BUCKET, f"{folder}/pictures.parquet", write_table(picture_rows, PICTURE_SCHEMA)),
        units=put_content(blobs, BUCKET, f"{folder}/units.parquet", write_table(unit_rows, UNIT_SCHEMA)),
    )


def _picture_rows(unit_maps: UnitMaps, extents: list[tuple[int, int]], dataset: Dataset) -> list[dict[str, Any]]:
    """Build the rows of a unit's pictures, whose offsets and sizes in the pack are `extents`."""
    patches = dataset.index.take(unit_maps.ids[: len(extents)]).to_pylist()
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
        for rank, (patch, value, (offset, size)) in enumerate(zip(patches, unit_maps.values, extents, strict=False), 1)
    ]


@lru_cache(maxsize=1)
def _open_source(blobs_url: str, scratch: str, dataset: ObjectRef, split: str, size: int, device: str) -> SourcePatches:
    """Open the source patches of a split. They stay open from one group to the next."""
    blobs = open_blobs(blobs_url)
    data = Dataset.open(blobs, dataset)
    read, together = LocalPatches(data, blobs, split, Path(scratch)).read, decode_on_gpu(device, size)
    log.info("patches opened", dataset=data.manifest.name, split=split, decoded_on="CPU" if together is None else "GPU")
    return SourcePatches(data, read, size, together=together)
