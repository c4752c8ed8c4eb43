"""Writes a gallery: an index, a page for each layer and each unit, and all pictures as files next to them."""

import shutil
import string
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput, NotFound
from services.common.machine.cores import working_threads
from services.imaging.dataset import Dataset, LocalPatches, fetch_object
from services.imaging.manifests import QUANTILES, ExtractedLayer, ExtractionManifest, read_table
from services.imaging.tensors import Tensors, local_tensors
from services.imaging.units import unit_name
from services.patch_rendering.encoding import SHEET_COLUMNS, Encoding
from services.patch_rendering.kinds import KINDS
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.unit_maps import UnitMaps, read_extraction, read_top_maps

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
UNFINISHED = ".unfinished-"
"""Prefix of the folder into which pages are written until all of them exist."""
LETTERS = frozenset(string.ascii_letters + string.digits + "_-")
"""Characters of a layer's name that the name of its folder keeps."""
FEW = 0.1
"""Share of the split's patches. If fewer pictures are shown, patches are read one by one."""


@dataclass(frozen=True)
class GalleryOptions:
    """The layers and units to show, and how to show them. Empty `layers` and `units` of None stand for all."""

    layers: tuple[str, ...]
    units: frozenset[int] | None
    kind: str
    format: str
    top: int
    size: int

    def has(self, unit: int) -> bool:
        """Whether a unit is shown."""
        return self.units is None or unit in self.units


def build_gallery(
    blobs: Blobs,
    scratch: Path,
    ref: ObjectRef,
    folder: Path,
    options: GalleryOptions,
    update: Callable[[int, int], None],
) -> Path:
    """Write the pages into a folder that is empty or does not exist yet, and return the index. A run that fails leaves
    nothing behind. NotFound for an unknown layer, InvalidInput if no layer has any of the units."""
    manifest = read_extraction(blobs, ref)
    layers = _chosen(manifest, options)
    with unfinished(folder) as inside:
        _write_pages(scratch, layers, Pages(blobs, manifest, inside, options), update)
    return folder / INDEX


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """Yield a folder inside this one. At the end of the block its contents move up. If the block fails they are
    removed, and this folder too if it is new."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(leftover)
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as inside:
            yield Path(inside)
            for path in Path(inside).iterdir():
                path.rename(folder / path.name)
    except BaseException:
        if is_new:
            folder.rmdir()
        raise


def is_free(folder: Path) -> bool:
    """Whether pages may be written into a folder: it does not exist, or holds only what a killed run left behind."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name.startswith(UNFINISHED) for path in folder.iterdir())
    )


def _write_pages(
    scratch: Path,
    layers: Sequence[tuple[ExtractedLayer, list[int]]],
    pages: "Pages",
    update: Callable[[int, int], None],
) -> None:
    total, done = sum(len(units) for _, units in layers), 0
    source = SourcePatches(pages.dataset, _reader(pages, scratch, total), pages.options.size)
    written = []
    for number, (layer, units) in enumerate(layers, 1):
        layer_folder = LayerFolder(pages, layer, number, units)
        top = local_tensors(fetch_object(pages.blobs, layer.top, scratch))
        with ThreadPoolExecutor(working_threads()) as pool:
            for _ in pool.map(partial(layer_folder.write_unit, top, source), units):
                done += 1
                update(done, total)
        written.append(layer_folder.write_page())
    pages.write_index(written)


def _reader(pages: "Pages", scratch: Path, units: int) -> Callable[[int], bytes]:
    """Choose how patches are read: one by one from the store if few are shown, else from local copies of the shards."""
    data, split = pages.dataset, pages.manifest.split
    if units * pages.options.top < data.manifest.splits[split] * FEW:
        return data.read
    return LocalPatches(data, pages.blobs, split, scratch).read


def _chosen(manifest: ExtractionManifest, options: GalleryOptions) -> list[tuple[ExtractedLayer, list[int]]]:
    by_name = {layer.name: layer for layer in manifest.layers}
    for name in options.layers:
        if name not in by_name:
            raise NotFound(f"extraction {manifest.extraction_id} has no layer {name!r}; it has {', '.join(by_name)}")
    layers = [by_name[name] for name in dict.fromkeys(options.layers)] or list(manifest.layers)
    chosen = [(layer, [unit for unit in range(layer.units) if options.has(unit)]) for layer in layers]
    if not any(units for _, units in chosen):
        existing = ", ".join(f"{layer.name} has units 0 to {layer.units - 1}" for layer in layers)
        raise InvalidInput(f"none of the units exists: {existing}")
    return chosen


class Pages:
    """The templates, with the facts that every page shows."""

    def __init__(self, blobs: Blobs, manifest: ExtractionManifest, folder: Path, options: GalleryOptions) -> None:
        self.blobs, self.manifest, self.folder, self.options = blobs, manifest, folder, options
        self.dataset = Dataset.open(blobs, manifest.dataset)
        self.encoding = Encoding(options.format, RenderingSettings().quality)
        self._templates = Environment(
            loader=PackageLoader("services.cli.gallery"), autoescape=select_autoescape(), undefined=StrictUndefined
        )
        for file in STATIC.iterdir():
            shutil.copyfile(file, folder / file.name)

    def write(self, template: str, path: Path, **facts: Any) -> None:
        """Write a page."""
        dataset = self.dataset.manifest
        common = {"extraction": self.manifest, "classes": dataset.classes, "dataset": dataset, "options": self.options}
        path.write_text(self._templates.get_template(template).render(common | facts), encoding="utf-8")

    def write_index(self, layers: list[dict[str, Any]]) -> None:
        """Write the page that links to the layers."""
        self.write("index.html", self.folder / INDEX, layers=layers, root="")


class LayerFolder:
    """The folder of one layer. Several threads write its units in any order; its page is written last."""

    def __init__(self, pages: Pages, layer: ExtractedLayer, number: int, units: Sequence[int]) -> None:
        self._pages, self._layer = pages, layer
        neighbours = zip([None, *units[:-1]], units, [*units[1:], None], strict=True)
        self._neighbours = {unit: (before, after) for before, unit, after in neighbours}
        self._name = f"{number:02d}-{''.join(letter if letter in LETTERS else '_' for letter in layer.name)}"
        self._folder = pages.folder / self._name
        self._folder.mkdir()
        self._statistics = read_table(pages.blobs, layer.statistics).to_pylist()
        self._ranks: dict[int, dict[int, int]] = {}
        for row in read_table(pages.blobs, layer.ranking).to_pylist():
            self._ranks.setdefault(row["unit"], {})[row["label"]] = row["rank"]
        self._cards: dict[int, dict[str, Any]] = {}

    def write_unit(self, top: Tensors, source: SourcePatches, unit: int) -> None:
        """Write a unit's page and its pictures."""
        pages, options = self._pages, self._pages.options
        unit_maps = read_top_maps(top, self._layer, pages.manifest.image_size, unit).ranks(1, options.top)
        pictures = self._write_pictures(unit_maps, source) if unit_maps.active else []
        card = {
            "unit": unit,
            "name": unit_name(unit),
            "silent": not pictures,
            "shown": len(pictures),
            "statistics": self._statistics[unit],
            "ranks": self._ranks.get(unit, {}),
        }
        self._cards[unit] = card
        before, after = self._neighbours[unit]
        pages.write(
            "unit.html", self._folder / f"{unit_name(unit)}.html", layer=self._layer, card=card, pictures=pictures,
            quantiles=list(zip(QUANTILES, self._statistics[unit]["quantiles"], strict=True)), root="../",
            unit_name=unit_name, is_shown=options.has, before=before, after=after,
        )  # fmt: skip

    def write_page(self) -> dict[str, Any]:
        """Write the layer's page. Return its entry of the index."""
        cards = [self._cards[unit] for unit in sorted(self._cards)]
        self._pages.write(
            "layer.html", self._folder / "index.html", layer=self._layer, cards=cards, columns=SHEET_COLUMNS, root="../"
        )
        silent = sum(card["silent"] for card in cards)
        return {"folder": self._name, "layer": self._layer, "units": len(cards), "silent": silent}

    def _write_pictures(self, unit_maps: UnitMaps, source: SourcePatches) -> list[dict[str, Any]]:
        pages, options = self._pages, self._pages.options
        drawn = KINDS[options.kind](unit_maps, source)
        folder = self._folder / unit_name(unit_maps.unit)
        folder.mkdir()
        (folder / f"sheet.{options.format}").write_bytes(pages.encoding.sheet(drawn[:SHEET_COLUMNS]))
        patches = pages.dataset.index.take(unit_maps.ids).to_pylist()
        pictures = []
        for rank, (content, value, patch) in enumerate(
            zip(pages.encoding.encode(drawn), unit_maps.values, patches, strict=True), 1
        ):
            (folder / f"{rank:04d}.{options.format}").write_bytes(content)
            pictures.append({"rank": rank, "value": float(value), "patch": patch})
        return pictures
