"""Read parts of a local or stored safetensors file: its header, then only the requested bytes."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.blobs import Blobs, ObjectRef
from services.common.errors import InvalidInput
from services.common.redaction import quoted

Read = Callable[[int, int], bytes]
"""Reads `length` bytes from `offset`."""

LARGEST_HEADER = 100_000_000
"""Most bytes of a header, as in the safetensors library."""
HEADER_GUESS = 4096
"""Bytes of the first read, which contains the header of most files."""

_DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
}


class Tensors:
    """The tensors of one file, read in parts. `name` stands for the file in errors."""

    def __init__(self, read: Read, name: str) -> None:
        self._read, self._name = read, name
        start = read(0, HEADER_GUESS)
        length = int.from_bytes(start[:8], "little")
        if length > LARGEST_HEADER:
            raise InvalidInput(f"{name} declares a header of {length} bytes; at most {LARGEST_HEADER} are read")
        self._data_offset = 8 + length
        header = start[8 : self._data_offset] if self._data_offset <= len(start) else read(8, length)
        try:
            self._entries: dict[str, dict[str, Any]] = json.loads(header)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{name} is not a safetensors file") from error
        self._entries.pop("__metadata__", None)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._entry(tensor)["shape"])

    def rows(self, tensor: str, first: int, last: int) -> NDArray[Any]:
        """Return rows `first` to `last` inclusive of a tensor, along its first axis."""
        count, *rest = self.shape(tensor)
        if not 0 <= first <= last < count:
            raise InvalidInput(f"{tensor} of {self._name} has rows 0 to {count - 1}; requested {first} to {last}")
        return self._array(tensor, first * math.prod(rest), (last - first + 1, *rest))

    def first_entries(self, tensor: str, row: int, count: int) -> NDArray[Any]:
        """Return the first `count` entries of a row, along the second axis."""
        _, columns, *rest = self.shape(tensor)
        return self._array(tensor, row * columns * math.prod(rest), (min(count, columns), *rest))

    def all(self, tensor: str) -> NDArray[Any]:
        """Return a full tensor."""
        return self._array(tensor, 0, self.shape(tensor))

    def _entry(self, tensor: str) -> dict[str, Any]:
        if tensor not in self._entries:
            raise InvalidInput(
                f"{self._name} has no tensor {quoted(tensor)}; it has {', '.join(sorted(self._entries))}"
            )
        return self._entries[tensor]

    def _array(self, tensor: str, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read an array of shape `shape`, starting at element `first` of a tensor."""
        entry = self._entry(tensor)
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        length = math.prod(shape) * dtype.itemsize
        content = (
            self._read(self._data_offset + entry["data_offsets"][0] + first * dtype.itemsize, length) if length else b""
        )
        if len(content) != length:
            raise InvalidInput(f"{self._name} ends within tensor {tensor}")
        return np.ndarray(shape, dtype, content)


def local_tensors(path: Path) -> Tensors:
    """Read the tensors of a local file. It is open only during a read, because there may be more files than a process
    may have open."""

    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            # Limit the length to the file: pread allocates the requested length before it reads.
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), min(length, max(0, size - offset)), offset)

    return Tensors(read, path.name)


def stored_tensors(blobs: Blobs, ref: ObjectRef) -> Tensors:
    """Read the tensors of an object, each part with one ranged GET, which cannot verify the part."""

    def read(offset: int, length: int) -> bytes:
        return blobs.get_range(ref.bucket, ref.key, offset, min(length, max(0, ref.size - offset)))

    return Tensors(read, f"object {ref.bucket}/{ref.key}")
