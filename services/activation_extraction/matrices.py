"""The matrix of a layer's maxima, patches x units, which is stored in one part per shard and read in bounded blocks."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from services.common.blobs import Blobs, ObjectRef
from services.imaging.dataset import fetch_object
from services.imaging.tensors import local_tensors

BLOCK_ROWS = 1024
PIECE_VALUES = 4 << 20
"""Values in a block of columns, at most, unless a single column has more."""
ITEM = np.dtype(np.float16).itemsize


class Matrices:
    """Local copies of the parts of one layer's matrix.

    Rows come in the order of patch ids, however they are spread over the parts. Reading calls `heartbeat` often.
    """

    def __init__(
        self, blobs: Blobs, refs: Sequence[ObjectRef], folder: Path, heartbeat: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._heartbeat = folder, heartbeat
        by_first = {}
        for ref in refs:
            path = fetch_object(blobs, ref, folder)
            heartbeat()
            part = local_tensors(path)
            ids = part.all("ids")
            by_first[int(ids[0])] = (ref, part, ids)
            self.units = part.shape("maxima")[1]
        ordered = [by_first[first] for first in sorted(by_first)]
        self.refs = [ref for ref, _, _ in ordered]
        self._tensors = [part for _, part, _ in ordered]
        self.ids: NDArray[np.int64] = np.concatenate([ids for _, _, ids in ordered])

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All rows, in blocks of (BLOCK_ROWS, units). The blocks do not depend on the number of parts."""
        rest = np.empty((0, self.units), dtype=np.float16)
        for part in self._parts():
            rest = np.concatenate((rest, part))
            while len(rest) >= BLOCK_ROWS:
                self._heartbeat()
                yield rest[:BLOCK_ROWS].astype(np.float32)
                rest = rest[BLOCK_ROWS:]
        if len(rest):
            yield rest.astype(np.float32)

    def column_blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All columns, some at a time: the first unit, and a (patches, units) block from that unit on."""
        rows = len(self.ids)
        step = max(1, PIECE_VALUES // rows)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            self._write_by_unit(file)
            for first in range(0, self.units, step):
                self._heartbeat()
                count = min(step, self.units - first)
                file.seek(first * rows * ITEM)
                content = file.read(count * rows * ITEM)
                yield first, np.ndarray((count, rows), np.float16, content).astype(np.float32).T

    def _write_by_unit(self, file: IO[bytes]) -> None:
        """Write the matrix unit by unit, so that each part is read only once."""
        rows, begin = len(self.ids), 0
        for part in self._parts():
            for unit, values in enumerate(np.ascontiguousarray(part.T)):
                file.seek((unit * rows + begin) * ITEM)
                file.write(values)
            begin += len(part)

    def _parts(self) -> Iterator[NDArray[np.float16]]:
        for part in self._tensors:
            self._heartbeat()
            yield part.all("maxima")
