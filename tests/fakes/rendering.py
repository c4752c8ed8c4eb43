"""A small but realistic rendering, in the schemas of the rendering service: for tests, and to look at pages."""

import io
import shutil
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from primitives.patch_rendering.v1 import events_pb2
from safetensors.numpy import save

from services.common.blobs import Blobs, FolderBlobs, ObjectRef
from services.imaging.dataset import INDEX_SCHEMA, LESION_SCHEMA, MAMMOGRAM_SCHEMA, DatasetManifest, Shard
from services.imaging.manifests import (
    PICTURE_SCHEMA,
    RANKING_SCHEMA,
    STATISTICS_SCHEMA,
    UNIT_SCHEMA,
    ExtractedLayer,
    ExtractionManifest,
    NetworkRef,
    RenderedGroup,
    RenderedLayer,
    RenderingManifest,
    write_table,
)

CLASSES = ("normal", "benign", "cancer")
NOTICE = "Sample data: the lesions on these pictures are simulated and were inserted into real tissue."
PHENOMENA = ("normal tissue", "circumscribed mass", "spiculated mass")
MAMMOGRAMS = (
    ("cancer_07-C_0142_1.LEFT_MLO.LJPEG.1", "LEFT", "MLO", 1600, 1000),
    ("benign mämmogram #2 'ü' & <b>.RIGHT_CC", "RIGHT", "CC", 1200, 900),
)
PICTURES = 64
SOURCE_SIDE = 100
GROUP_OF_PATCHES = 40
"""The last id of the first group of patches."""
GROUP_UNITS = 16


@dataclass
class FakeRendering:
    """What was stored."""

    blobs: Blobs
    rendering_id: str
    manifest: RenderingManifest
    ref: ObjectRef
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of PICTURE_SCHEMA by layer."""
    patches: int | None = None

    def completed(self, plan_id: str = "plan-1", **study: Any) -> events_pb2.RenderingCompleted:
        """The event that it is completed, without a plan if `plan_id` is empty."""
        event = events_pb2.RenderingCompleted(rendering_id=self.rendering_id)
        json_format.ParseDict(self.ref.model_dump(), event.manifest)
        if plan_id:
            event.plan.plan_id = plan_id
            json_format.ParseDict({"units_per_class": 4} | study, event.plan.study)
        return event


def store_rendering(
    blobs: Blobs,
    layers: tuple[tuple[str, int], ...] = (("block4", 30), ("block6", 10)),
    silent: int = 5,
    notice: str = NOTICE,
    size: int = 96,
    pictures: int = PICTURES,
    patches: int | None = None,
) -> FakeRendering:
    """Store a rendering of some layers (name, units); channel `silent` of the first layer is silent.

    With `patches`, all units share this number of patches; otherwise each picture has a patch of its own.
    """
    dataset = _store_dataset(blobs, notice)
    rendering = FakeRendering(blobs, "rendering-1", None, None)  # type: ignore[arg-type]
    rendering.patches = patches
    jpegs = [patch_jpeg(number, size) for number in range(24)]
    stored = tuple(
        _store_layer(rendering, name, units, silent if position == 0 else -1, jpegs, pictures)
        for position, (name, units) in enumerate(layers)
    )
    rendering.manifest = RenderingManifest(
        rendering_id=rendering.rendering_id,
        extraction_id="extraction-1",
        extraction=_store_extraction(blobs, dataset, layers),
        network=_network(blobs),
        dataset=dataset,
        split="val",
        size=size,
        pictures=sum(len(rows) for rows in rendering.rows.values()),
        layers=stored,
    )
    body = rendering.manifest.model_dump_json().encode()
    rendering.ref = blobs.put("patch-rendering", "renderings/rendering-1/manifest.json", body)
    return rendering


def copy_rendering(folder: Path, **options: Any) -> FakeRendering:
    """Store such a rendering in a folder. Its files are made once a process and copied, which takes a tenth of the
    time."""
    template, rendering = _template(tuple(sorted(options.items())))
    shutil.copytree(template.name, folder, dirs_exist_ok=True)
    rows = {name: [dict(row) for row in layer] for name, layer in rendering.rows.items()}
    return replace(rendering, blobs=FolderBlobs(folder), rows=rows)


@cache
def _template(options: tuple[tuple[str, Any], ...]) -> "tuple[TemporaryDirectory[str], FakeRendering]":
    """A folder with a rendering, which is removed when the process ends."""
    folder = TemporaryDirectory(prefix="rendering-")
    return folder, store_rendering(FolderBlobs(folder.name), **dict(options))


def _store_extraction(blobs: Blobs, dataset: ObjectRef, layers: tuple[tuple[str, int], ...]) -> ObjectRef:
    """Store an extraction whose maxima divide the patches of every unit in two: up to half of the units respond to
    patches of ids up to 40, the others to the rest. In the first layer only; the second layer has noise."""
    nothing = blobs.put("activation-extraction", "extractions/extraction-1/nothing", b"")
    stored = []
    for position, (name, units) in enumerate(layers):
        rng = np.random.default_rng(position)
        ids = np.arange(PICTURES + 1)
        maxima = rng.normal(1, 0.05, (len(ids), units))
        if position == 0:
            maxima += (ids[:, None] <= GROUP_OF_PATCHES) == (np.arange(units) < units // 2)
        tensors = save({"ids": ids, "maxima": maxima.astype(np.float16)})
        ref = blobs.put("activation-extraction", f"extractions/extraction-1/{name}/maxima.safetensors", tensors)
        layer = ExtractedLayer(
            name=name, module=name, units=units, height=1, width=1, top=nothing, sample=nothing, maxima=(ref,),
            correlation=nothing, statistics=nothing, ranking=nothing, ranking_method="influence",
        )  # fmt: skip
        stored.append(layer)
    manifest = ExtractionManifest(
        extraction_id="extraction-1",
        network=_network(blobs),
        image_size=224,
        dataset=dataset,
        split="val",
        patches=PICTURES + 1,
        top_k=PICTURES,
        layers=tuple(stored),
    )
    key = "extractions/extraction-1/manifest.json"
    return blobs.put("activation-extraction", key, manifest.model_dump_json().encode())


def _network(blobs: Blobs) -> NetworkRef:
    return NetworkRef(
        architecture="efficientnet_lite0",
        classes=CLASSES,
        run_id="run-1",
        checkpoint_id="checkpoint-1",
        checkpoint=blobs.put("training", "checkpoint.json", b"{}"),
    )


@cache
def patch_jpeg(seed: int, size: int) -> bytes:
    """Something like tissue with something bright in it, dimmed around it."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 150, (12, 12)).astype(np.uint8))
    grey = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)).astype(np.float32)
    rows, columns = np.mgrid[:size, :size]
    row, column = rng.integers(size // 4, 3 * size // 4, 2)
    distance = np.hypot(rows - row, columns - column) / (size * rng.uniform(0.1, 0.25))
    grey = grey + 130 * np.exp(-(distance**2)) + rng.normal(0, 6, (size, size))
    kept = np.where(distance < 1.6, grey, grey * 0.2)
    return _jpeg(Image.fromarray(kept.clip(0, 255).astype(np.uint8)))


@cache
def _mammogram_jpeg(seed: int, height: int, width: int) -> bytes:
    rng = np.random.default_rng(100 + seed)
    image = Image.new("L", (width, height), 6)
    breast = (-width // 2, height // 10, int(width * 0.75), int(height * 0.92))
    ImageDraw.Draw(image).ellipse(breast, fill=110)
    small = Image.fromarray(rng.integers(60, 200, (40, 30)).astype(np.uint8))
    texture = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    pixels = np.asarray(image).astype(np.float32)
    return _jpeg(Image.fromarray(np.where(pixels > 20, texture, pixels).clip(0, 255).astype(np.uint8)))


def deep_mammogram(grey: Image.Image) -> NDArray[np.uint16]:
    """A mammogram with 12 bits in 16."""
    return (np.asarray(grey).astype(np.uint16) << 4) + 3


@cache
def _deep_png(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(deep_mammogram(Image.open(io.BytesIO(jpeg)))).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _store_dataset(blobs: Blobs, notice: str) -> ObjectRef:
    rows = []
    for number, (name, side, view, height, width) in enumerate(MAMMOGRAMS):
        full = _mammogram_jpeg(number, height, width)
        preview = Image.open(io.BytesIO(full))
        preview.thumbnail((1100, 1100))
        stored, suffix = (full, "jpg") if number else (_deep_png(full), "png")
        kept = blobs.put("training", f"datasets/mammograms/{number}.{suffix}", stored)
        small = blobs.put("training", f"datasets/previews/{number}.jpg", _jpeg(preview))
        values = (name, f"patient-{number}", side, view, height, width, kept.key, kept.sha256, small.key, small.sha256)
        rows.append(dict(zip(MAMMOGRAM_SCHEMA.names, values, strict=True)))
    index, shard = _store_patches(blobs)
    manifest = DatasetManifest(
        dataset_id="dataset-1",
        name="sample",
        notice=notice,
        classes=CLASSES,
        splits={"train": 0, "val": 100},
        mammogram_count=len(rows),
        shards=(Shard(object=shard, split="val", first=0, last=len(index) - 1),),
        index=blobs.put("training", "datasets/1/index.parquet", write_table(index, INDEX_SCHEMA)),
        mammograms=blobs.put("training", "datasets/1/mammograms.parquet", write_table(rows, MAMMOGRAM_SCHEMA)),
        lesions=blobs.put("training", "datasets/1/lesions.parquet", write_table([], LESION_SCHEMA)),
    )
    return blobs.put("training", "datasets/1/manifest.json", manifest.model_dump_json().encode())


def source_patch(patch_id: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The grey values of a patch as the data set stores it: of even ids 16 bits in 100 x 100 pixels, between 5,000 and
    9,000, so that only a window shows them; of odd ids 8 bits."""
    rows, columns = np.mgrid[:SOURCE_SIDE, :SOURCE_SIDE]
    if patch_id % 2 == 0:
        return (5000 + 20 * rows + 20 * columns + patch_id).astype(np.uint16)
    return (rows + columns + patch_id % 50).astype(np.uint8)


@cache
def _source_png(patch_id: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(source_patch(patch_id)).save(buffer, "PNG")
    return buffer.getvalue()


def _store_patches(blobs: Blobs) -> tuple[list[dict[str, Any]], ObjectRef]:
    """Store the patches of all pictures in one shard; return their rows of the index, and the shard."""
    shard, rows = io.BytesIO(), []
    for patch_id in range(PICTURES + 1):
        image = _source_png(patch_id)
        row = dict.fromkeys(INDEX_SCHEMA.names, 0) | {"patch_id": patch_id, "name": f"{patch_id}.png", "split": "val"}
        row |= {"patient": "patient-0", "mammogram": MAMMOGRAMS[0][0], "phenomenon": ""}
        rows.append(row | {"offset": shard.tell(), "size": len(image)})
        shard.write(image)
    return rows, blobs.put("training", "datasets/shards/1.tar", shard.getvalue())


def _store_layer(
    rendering: FakeRendering, name: str, units: int, silent: int, jpegs: list[bytes], pictures: int
) -> RenderedLayer:
    rng = np.random.default_rng(units)
    rendering.rows[name] = []
    groups = tuple(
        _store_group(rendering, name, range(first, min(first + GROUP_UNITS, units)), silent, jpegs, pictures)
        for first in range(0, units, GROUP_UNITS)
    )
    statistics = [
        {
            "unit": unit, "mean": 0.4, "deviation": 0.2, "minimum": 0.0, "maximum": 3.0, "active": 0.6,
            "auc_by_class": [0.5, None, 0.71],
        }
        for unit in range(units)
    ]  # fmt: skip
    ranking = [
        {"label": label, "rank": rank, "unit": int(unit), "score": 1.0 / rank, "count": 100 - rank}
        for label in range(len(CLASSES))
        for rank, unit in enumerate(rng.permutation(units), 1)
    ]
    folder = f"renderings/rendering-1/{name}"
    return RenderedLayer(
        name=name,
        units=units,
        statistics=rendering.blobs.put("extraction", f"{folder}/s.parquet", write_table(statistics, STATISTICS_SCHEMA)),
        ranking=rendering.blobs.put("extraction", f"{folder}/r.parquet", write_table(ranking, RANKING_SCHEMA)),
        ranking_method="influence",
        groups=groups,
    )


def _store_group(
    rendering: FakeRendering, layer: str, units: range, silent: int, jpegs: list[bytes], pictures: int
) -> RenderedGroup:
    pack = io.BytesIO()
    unit_rows, picture_rows = [], []
    for unit in units:
        here = [] if unit == silent else [jpegs[(3 * unit + rank) % len(jpegs)] for rank in range(pictures)]
        sheet = _sheet(tuple(here)) if here else b""
        row = {"unit": unit, "best": 3.0 if here else 0.0, "silent": not here}
        unit_rows.append(row | {"sheet_offset": pack.tell(), "sheet_size": len(sheet)})
        pack.write(sheet)
        for rank, jpeg in enumerate(here, 1):
            row = shared_row(unit, rank, rendering.patches) if rendering.patches else picture_row(unit, rank)
            picture_rows.append(row | {"offset": pack.tell(), "size": len(jpeg)})
            pack.write(jpeg)
    rendering.rows[layer] += picture_rows
    folder = f"renderings/rendering-1/{layer}/{units[0]:05d}"
    blobs = rendering.blobs
    return RenderedGroup(
        first=units[0],
        last=units[-1],
        pack=blobs.put("patch-rendering", f"{folder}/pictures.pack", pack.getvalue()),
        pictures=blobs.put("patch-rendering", f"{folder}/pictures.parquet", write_table(picture_rows, PICTURE_SCHEMA)),
        units=blobs.put("patch-rendering", f"{folder}/units.parquet", write_table(unit_rows, UNIT_SCHEMA)),
    )


def picture_row(unit: int, rank: int) -> dict[str, Any]:
    """A picture without its place in the pack; every unit has pictures of every class, and a name with markup in it."""
    number = (unit + rank) % len(MAMMOGRAMS)
    name, _, _, height, width = MAMMOGRAMS[number]
    label = (unit * 7 + rank * rank + rank // 2) % len(CLASSES)
    row, column = (37 * rank + 11 * unit) % (height - 240), (53 * rank + 5 * unit) % (width - 240)
    return {
        "unit": unit,
        "rank": rank,
        "value": 3.0 / (1 + 0.02 * rank),
        "patch_id": rank,
        "patch": f"{name}-x{row}_y{column}_w227_h227_<script>alert({rank})</script>.jpg",
        "label": label,
        "phenomenon": PHENOMENA[label],
        "mammogram": name,
        "row": row,
        "column": column,
        "height": 227,
        "width": 227,
    }


def shared_row(unit: int, rank: int, patches: int) -> dict[str, Any]:
    """A picture of one of the patches that all units share."""
    patch = picture_row(0, 1 + (5 * unit + rank) % patches)
    return patch | {"unit": unit, "rank": rank, "value": 3.0 / (1 + 0.02 * rank)}


@cache
def _sheet(jpegs: tuple[bytes, ...]) -> bytes:
    cells = [Image.open(io.BytesIO(jpeg)).reduce(2) for jpeg in jpegs[:8]]
    side = cells[0].width
    sheet = Image.new("L", (8 * side, -(-len(jpegs) // 8) * side))
    for number in range(len(jpegs)):
        sheet.paste(cells[number % len(cells)], (number % 8 * side, number // 8 * side))
    return _jpeg(sheet)
