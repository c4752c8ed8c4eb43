"""Pictures of an extraction's units, drawn on request. Only the needed parts of stored objects are read."""

import hashlib
import threading
from collections.abc import Hashable
from dataclasses import dataclass

from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache
from services.common.records import get_row
from services.common.redaction import quoted
from services.common.work.ports import Ports
from services.imaging.dataset import Dataset
from services.imaging.manifests import ExtractedLayer, ExtractionManifest
from services.imaging.media import MEDIA_TYPES
from services.imaging.tensors import Tensors, stored_tensors
from services.patch_rendering.encoding import Encoding
from services.patch_rendering.kinds import KINDS
from services.patch_rendering.schemas import UnitPictureRequest, UnitSheetRequest
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.tables import ReceivedExtractionRow
from services.patch_rendering.unit_maps import UnitMaps, read_extraction, read_sample_maps, read_top_maps

CACHED_MANIFESTS = 64
CACHED_HEADERS = 512
CACHED_SOURCES = 4
"""Pairs of a data set and a picture size. The index of each data set is in memory."""
CACHED_PATCH_BYTES = 16 << 20
"""Bytes of patches of one source at the size of pictures, and as many at their full size."""
CACHED_MAP_BYTES = 64 << 20
CACHED_PICTURE_BYTES = 64 << 20
"""Bytes of encoded pictures."""

CONCURRENT_DRAWINGS = 4
"""Pictures or sheets that are drawn at the same time. The largest sheet in colour takes 200 MB."""

_VERSION = "1"
"""Part of every entity tag. Change it when the same request gives other bytes than before."""


@dataclass(frozen=True)
class PictureLookup:
    """A picture or sheet of ranks `first` to `last`, found but not drawn yet. Its entity tag is unique."""

    request: UnitPictureRequest | UnitSheetRequest
    manifest: ExtractionManifest
    layer: ExtractedLayer
    first: int
    last: int
    etag: str

    @property
    def media_type(self) -> str:
        """The media type of the picture."""
        return MEDIA_TYPES[self.request.format]


class UnitPictures:
    """Draws pictures on request. Everything it reads is immutable, so its caches never become outdated."""

    def __init__(self, ports: Ports, quality: int) -> None:
        self._ports, self._quality = ports, quality
        self._manifests: BoundedCache[ExtractionManifest] = BoundedCache(CACHED_MANIFESTS, lambda _: 1)
        self._headers: BoundedCache[Tensors] = BoundedCache(CACHED_HEADERS, lambda _: 1)
        self._sources: BoundedCache[SourcePatches] = BoundedCache(CACHED_SOURCES, lambda _: 1)
        self._unit_maps: BoundedCache[UnitMaps] = BoundedCache(
            CACHED_MAP_BYTES, lambda unit_maps: unit_maps.maps.nbytes
        )
        self._encoded: BoundedCache[bytes] = BoundedCache(CACHED_PICTURE_BYTES, len)
        self._drawing = threading.BoundedSemaphore(CONCURRENT_DRAWINGS)

    def find(self, request: UnitPictureRequest | UnitSheetRequest) -> PictureLookup:
        """Find what a request refers to. NotFound lists what exists; Conflict for an extraction in an old format."""
        ref = self._extraction(request.extraction_id)
        manifest = self._manifests.get(ref.sha256, lambda: read_extraction(self._ports.blobs, ref))
        layer = _layer(manifest, request.layer)
        if not 0 <= request.unit < layer.units:
            raise NotFound(f"layer {layer.name} has units 0 to {layer.units - 1}; requested {request.unit}")
        first, last = _ranks(request)
        ranks = self._tensors(layer.top if request.source == "top" else layer.sample).shape("maps")[1]
        if not 1 <= first <= ranks:
            raise NotFound(f"layer {layer.name} has ranks 1 to {ranks} in its {request.source}; requested {first}")
        identity = (_VERSION, ref.sha256, self._quality, type(request).__name__, request.model_dump_json())
        etag = f'"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}"'
        return PictureLookup(request, manifest, layer, first, min(last, ranks), etag)

    def draw(self, found: PictureLookup) -> bytes:
        """Return the encoded picture or sheet."""
        return self._encoded.get(found.etag, lambda: self._draw(found))

    def _draw(self, found: PictureLookup) -> bytes:
        request, encoding = found.request, Encoding(found.request.format, self._quality)
        unit_maps = self._read(found.manifest, found.layer, request.unit, request.source)
        source = self._source(found.manifest.dataset, request.size)
        with self._drawing:
            pictures = KINDS[request.kind](unit_maps.ranks(found.first, found.last), source)
            return encoding.sheet(pictures) if isinstance(request, UnitSheetRequest) else encoding.encode(pictures)[0]

    def _extraction(self, extraction_id: str) -> ObjectRef:
        with self._ports.records.reading() as session:
            return get_row(session, ReceivedExtractionRow, extraction_id, "completed extraction").manifest

    def _read(self, manifest: ExtractionManifest, layer: ExtractedLayer, unit: int, source: str) -> UnitMaps:
        def read() -> UnitMaps:
            top = self._tensors(layer.top)
            if source == "top":
                return read_top_maps(top, layer, manifest.image_size, unit)
            return read_sample_maps(top, self._tensors(layer.sample), layer, manifest.image_size, unit)

        return self._unit_maps.get((layer.top.sha256, layer.sample.sha256, unit, source), read)

    def _tensors(self, ref: ObjectRef) -> Tensors:
        return self._headers.get(_location(ref), lambda: stored_tensors(self._ports.blobs, ref))

    def _source(self, ref: ObjectRef, size: int) -> SourcePatches:
        def open_source() -> SourcePatches:
            dataset = Dataset.open(self._ports.blobs, ref)
            return SourcePatches(dataset, dataset.read, size, CACHED_PATCH_BYTES)

        return self._sources.get((_location(ref), size), open_source)


def _layer(manifest: ExtractionManifest, name: str) -> ExtractedLayer:
    for layer in manifest.layers:
        if layer.name == name:
            return layer
    raise NotFound(
        f"extraction {manifest.extraction_id} has no layer {quoted(name)}; it has "
        f"{', '.join(layer.name for layer in manifest.layers)}"
    )


def _location(ref: ObjectRef) -> Hashable:
    return ref.bucket, ref.key


def _ranks(request: UnitPictureRequest | UnitSheetRequest) -> tuple[int, int]:
    """Return the first and the last rank of a request."""
    if isinstance(request, UnitSheetRequest):
        return request.first, request.first + request.count - 1
    return request.rank, request.rank
