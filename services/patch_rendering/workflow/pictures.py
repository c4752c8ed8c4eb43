"""Pictures of an extraction's units, drawn when they are asked for, from no more than they need of the store."""

import hashlib
import threading
from collections.abc import Hashable
from dataclasses import dataclass

from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache
from services.common.work.ports import Ports
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest
from services.imaging.media import MEDIA_TYPES
from services.imaging.tensors import Tensors, stored_tensors
from services.patch_rendering.encoding import Encoding
from services.patch_rendering.kinds import KINDS
from services.patch_rendering.schemas import UnitPictureRequest, UnitSheetRequest
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.tables import ExtractionRow
from services.patch_rendering.unit_maps import UnitMaps, read_extraction, read_sample_maps, read_top_maps

MANIFESTS_KEPT = 64
HEADERS_KEPT = 512
SOURCES_KEPT = 4
"""Data sets at a size of pictures; the index of each is in memory."""
SOURCE_KEPT = 16 << 20
"""Bytes of patches of one data set, and as much of them at their own size."""
UNIT_MAPS_KEPT = 64 << 20
"""Bytes of maps."""
ENCODED_KEPT = 64 << 20
"""Bytes of encoded pictures."""

DRAWN_AT_ONCE = 4
"""Pictures or sheets: the largest sheet in colours takes 200 MB while it is drawn."""

_VERSION = "1"
"""Part of every entity tag: another number where the same options gives other bytes than before."""


@dataclass(frozen=True)
class PictureLookup:
    """A picture or sheet of ranks `first` to `last`, looked up and not drawn yet. Its tag is that of no other one."""

    request: UnitPictureRequest | UnitSheetRequest
    manifest: ExtractionManifest
    layer: ExtractedLayer
    first: int
    last: int
    etag: str

    @property
    def media_type(self) -> str:
        """Of what will be drawn."""
        return MEDIA_TYPES[self.request.format]


class UnitPictures:
    """The use case, over the ports. Everything that it reads is immutable, so nothing that it keeps grows old."""

    def __init__(self, ports: Ports, quality: int) -> None:
        self._ports, self._quality = ports, quality
        self._manifests: BoundedCache[ExtractionManifest] = BoundedCache(MANIFESTS_KEPT, lambda _: 1)
        self._headers: BoundedCache[Tensors] = BoundedCache(HEADERS_KEPT, lambda _: 1)
        self._sources: BoundedCache[SourcePatches] = BoundedCache(SOURCES_KEPT, lambda _: 1)
        self._unit_maps: BoundedCache[UnitMaps] = BoundedCache(UNIT_MAPS_KEPT, lambda unit_maps: unit_maps.maps.nbytes)
        self._encoded: BoundedCache[bytes] = BoundedCache(ENCODED_KEPT, len)
        self._drawing = threading.BoundedSemaphore(DRAWN_AT_ONCE)

    def look_up(self, request: UnitPictureRequest | UnitSheetRequest) -> PictureLookup:
        """What is to be drawn. NotFound names what there is; Conflict for an extraction of an old format."""
        ref = self._extraction(request.extraction_id)
        manifest = self._manifests.get(ref.sha256, lambda: read_extraction(self._ports.blobs, ref))
        layer = _layer(manifest, request.layer)
        if not 0 <= request.unit < layer.units:
            raise NotFound(f"layer {layer.name} has units 0 to {layer.units - 1}; asked for {request.unit}")
        first, last = _ranks(request)
        there = self._tensors(layer.top if request.source == "top" else layer.sample).shape("maps")[1]
        if not 1 <= first <= there:
            raise NotFound(f"layer {layer.name} has ranks 1 to {there} of its {request.source}; asked for {first}")
        named = (_VERSION, ref.sha256, self._quality, type(request).__name__, request.model_dump_json())
        etag = f'"{hashlib.sha256(repr(named).encode()).hexdigest()[:32]}"'
        return PictureLookup(request, manifest, layer, first, min(last, there), etag)

    def draw(self, wanted: PictureLookup) -> bytes:
        """The encoded picture or sheet."""
        return self._encoded.get(wanted.etag, lambda: self._draw(wanted))

    def _draw(self, wanted: PictureLookup) -> bytes:
        request, encoding = wanted.request, Encoding(wanted.request.format, self._quality)
        unit_maps = self._read(wanted.manifest, wanted.layer, request.unit, request.source)
        source = self._source(wanted.manifest.dataset, request.size)
        with self._drawing:
            pictures = KINDS[request.kind](unit_maps.ranks(wanted.first, wanted.last), source)
            return encoding.sheet(pictures) if isinstance(request, UnitSheetRequest) else encoding.encode(pictures)[0]

    def _extraction(self, extraction_id: str) -> ObjectRef:
        with self._ports.records.reading() as session:
            row = session.get(ExtractionRow, extraction_id)
            if row is None:
                raise NotFound(f"there is no completed extraction {extraction_id!r}")
            return ObjectRef.model_validate(row.manifest)

    def _read(self, manifest: ExtractionManifest, layer: ExtractedLayer, unit: int, source: str) -> UnitMaps:
        def read() -> UnitMaps:
            top = self._tensors(layer.top)
            if source == "top":
                return read_top_maps(top, layer, manifest.image_size, unit)
            return read_sample_maps(top, self._tensors(layer.sample), layer, manifest.image_size, unit)

        return self._unit_maps.get((layer.top.sha256, layer.sample.sha256, unit, source), read)

    def _tensors(self, ref: ObjectRef) -> Tensors:
        return self._headers.get(_place(ref), lambda: stored_tensors(self._ports.blobs, ref))

    def _source(self, ref: ObjectRef, size: int) -> SourcePatches:
        def open_source() -> SourcePatches:
            dataset = Dataset.open(self._ports.blobs, ref)
            return SourcePatches(dataset, dataset.read, size, SOURCE_KEPT)

        return self._sources.get((_place(ref), size), open_source)


def _layer(manifest: ExtractionManifest, name: str) -> ExtractedLayer:
    for layer in manifest.layers:
        if layer.name == name:
            return layer
    raise NotFound(
        f"extraction {manifest.extraction_id} has no layer {name!r}; it has "
        f"{', '.join(layer.name for layer in manifest.layers)}"
    )


def _place(ref: ObjectRef) -> Hashable:
    return ref.bucket, ref.key


def _ranks(request: UnitPictureRequest | UnitSheetRequest) -> tuple[int, int]:
    """The first and the last rank that are asked for."""
    if isinstance(request, UnitSheetRequest):
        return request.first, request.first + request.count - 1
    return request.rank, request.rank
