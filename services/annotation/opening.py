"""Reads a rendering into the rows of a study. Reading is slow and holds no lock."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.annotation.picture import PatchSource, Picture, encode_pictures, encode_sources
from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.dataset import Dataset
from services.imaging.manifests import RenderedGroup, RenderedLayer, RenderingManifest, read_table

OVERVIEW_PICTURES = 8

_PICTURE_COLUMNS = (
    "unit", "value", "patch", "label", "phenomenon", "mammogram", "row", "column", "height", "width", "offset", "size",
)  # fmt: skip


@dataclass
class LayerContent:
    """The rows of one layer, as dictionaries of columns without the study's id."""

    layer: dict[str, Any]
    units: list[dict[str, Any]]
    ranks: list[dict[str, Any]]


@dataclass
class StudyContent:
    """Everything that a study stores about its rendering and its data set."""

    extraction_id: str
    architecture: str
    dataset: str
    notice: str
    classes: list[str]
    shards: list[list[str]]
    """Bucket and key of the shards with the patches."""
    mammograms: list[dict[str, Any]]
    layers: list[LayerContent]


@dataclass
class Mammograms:
    """Numbers the mammograms of a data set at random and records which are used. The numbers reveal nothing about the
    names: a number that followed from them could be found again from the list of a public data set."""

    dataset: Dataset
    used: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._names = list(self.dataset.mammograms)
        random.SystemRandom().shuffle(self._names)
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def number(self, name: str) -> int | None:
        """The number of a mammogram, which is then used; None if the data set has no mammogram of this name."""
        number = self._numbers.get(name)
        if number is not None:
            self.used.add(number)
        return number

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the used mammograms."""
        bucket = self.dataset.manifest.mammograms.bucket
        for number in sorted(self.used):
            row = self.dataset.mammograms[self._names[number]]
            columns = {name: row[name] for name in ("name", "side", "view", "height", "width", "preview_key")}
            yield columns | {"number": number, "preview_bucket": bucket, "source_key": row["key"]}


class Patches:
    """Finds where the patches of a data set are stored, and numbers the shards that are used."""

    def __init__(self, dataset: Dataset) -> None:
        self._shards = [shard.object for shard in dataset.manifest.shards]
        index = dataset.index
        self._columns = [index[name].to_numpy() for name in ("shard", "offset", "size")]
        self._numbers: dict[int, int] = {}

    def sources(self, patch_ids: Sequence[int]) -> list[PatchSource]:
        """Where patches are stored. InvalidInput if the data set does not have one of them."""
        shards, offsets, sizes = self._columns
        if wrong := [number for number in patch_ids if not 0 <= number < len(shards)]:
            raise InvalidInput(f"the rendering has a picture of patch {wrong[0]}; its data set has {len(shards)}")
        return [
            PatchSource(self._number(int(shards[number])), int(offsets[number]), int(sizes[number]))
            for number in patch_ids
        ]

    def shards(self) -> list[list[str]]:
        """Bucket and key of the used shards, by number."""
        return [[self._shards[shard].bucket, self._shards[shard].key] for shard in self._numbers]

    def _number(self, shard: int) -> int:
        return self._numbers.setdefault(shard, len(self._numbers))


def read_study(blobs: Blobs, manifest: ObjectRef, units_per_class: int) -> StudyContent:
    """Read all rows of a study. NotFound or InvalidInput if an object is missing or differs from its reference."""
    rendering = RenderingManifest.model_validate_json(read_verified(blobs, manifest))
    dataset = Dataset.open(blobs, rendering.dataset)
    mammograms, patches = Mammograms(dataset), Patches(dataset)
    source = _Source(blobs, mammograms, patches, last_class=len(dataset.manifest.classes) - 1)
    layers = [source.read_layer(layer, position, units_per_class) for position, layer in enumerate(rendering.layers)]
    return StudyContent(
        extraction_id=rendering.extraction_id,
        architecture=rendering.network.architecture,
        dataset=dataset.manifest.name,
        notice=dataset.manifest.notice,
        classes=list(dataset.manifest.classes),
        shards=patches.shards(),
        mammograms=list(mammograms.rows()),
        layers=layers,
    )


def choose_subset(ranks: list[dict[str, Any]], silent: set[int], units_per_class: int) -> set[int]:
    """The first `units_per_class` units in the ranking of each class, without silent units."""
    chosen: defaultdict[int, list[int]] = defaultdict(list)
    for row in sorted(ranks, key=lambda row: (row["label"], row["rank"])):
        of_class = chosen[row["label"]]
        if len(of_class) < units_per_class and row["unit"] not in silent:
            of_class.append(row["unit"])
    return {unit for units in chosen.values() for unit in units}


@dataclass(frozen=True)
class _Source:
    """Reads the rows of layers."""

    blobs: Blobs
    mammograms: Mammograms
    patches: Patches
    last_class: int

    def read_layer(self, layer: RenderedLayer, position: int, units_per_class: int) -> LayerContent:
        ranks = read_table(self.blobs, layer.ranking).to_pylist()
        statistics = {row.pop("unit"): row for row in read_table(self.blobs, layer.statistics).to_pylist()}
        units = [row for group in layer.groups for row in self._read_group(group)]
        silent = {row["unit"] for row in units if row["silent"]}
        subset = choose_subset(ranks, silent, units_per_class)
        ranked = {row["unit"] for row in ranks}
        for row in units:
            unit = row["unit"]
            row["in_subset"], row["in_ranking"] = unit in subset, unit in ranked
            row["statistics"] = statistics.get(unit, {})
        columns = {
            "layer": layer.name,
            "position": position,
            "units": len(units),
            "silent": len(silent),
            "in_subset": len(subset),
            "in_ranking": len(ranked - silent),
            "ranking_method": layer.ranking_method,
        }
        return LayerContent(columns, units, ranks)

    def _read_group(self, group: RenderedGroup) -> Iterator[dict[str, Any]]:
        pictures, patches = self._read_pictures(group)
        for row in read_table(self.blobs, group.units).to_pylist():
            of_unit, patch_ids = pictures[row["unit"]], patches[row["unit"]]
            yield row | {
                "pack_bucket": group.pack.bucket,
                "pack_key": group.pack.key,
                "positives": sum(picture.label == self.last_class for picture in of_unit[:OVERVIEW_PICTURES]),
                "pictures": encode_pictures(of_unit),
                "sources": encode_sources(self.patches.sources(patch_ids)),
            }

    def _read_pictures(
        self, group: RenderedGroup
    ) -> tuple[defaultdict[int, list[Picture]], defaultdict[int, list[int]]]:
        """The pictures of each unit of a group, by rank, and the ids of their patches."""
        table = read_table(self.blobs, group.pictures).sort_by([("unit", "ascending"), ("rank", "ascending")])
        columns = [table[name].to_pylist() for name in _PICTURE_COLUMNS]
        pictures: defaultdict[int, list[Picture]] = defaultdict(list)
        patches: defaultdict[int, list[int]] = defaultdict(list)
        for unit, patch_id in zip(columns[0], table["patch_id"].to_pylist(), strict=True):
            patches[unit].append(patch_id)
        for unit, value, patch, label, phenomenon, mammogram, *box_and_place in zip(*columns, strict=True):
            number = self.mammograms.number(mammogram)
            pictures[unit].append(Picture(value, patch, label, phenomenon, number, *box_and_place))
        return pictures, patches
