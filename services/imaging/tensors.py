"""Reading parts of a safetensors file, wherever it lies: its header, then the bytes that are asked for."""

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

Read = Callable[[int, int], bytes]
"""`length` bytes from `offset`."""

LARGEST_HEADER = 100_000_000
"""Bytes of a header, as in the library of the format."""
HEADER_GUESS = 4096
"""Bytes that hold the header of most files."""

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
    """The tensors of one file, read in parts. `name` is what errors call the file."""

    def __init__(self, read: Read, name: str) -> None:
        self._read, self._name = read, name
        begin = read(0, HEADER_GUESS)
        length = int.from_bytes(begin[:8], "little")
        if length > LARGEST_HEADER:
            raise InvalidInput(f"{name} says that its header has {length} bytes; at most {LARGEST_HEADER} are read")
        self._begin = 8 + length
        header = begin[8 : self._begin] if self._begin <= len(begin) else read(8, length)
        try:
            self._entries: dict[str, dict[str, Any]] = json.loads(header)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{name} is no safetensors file") from error
        self._entries.pop("__metadata__", None)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._entry(tensor)["shape"])

    def rows(self, tensor: str, first: int, last: int) -> NDArray[Any]:
        """Rows `first` to `last` of a tensor along its first axis, both within."""
        count, *rest = self.shape(tensor)
        if not 0 <= first <= last < count:
            raise InvalidInput(f"{tensor} of {self._name} has rows 0 to {count - 1}; asked for {first} to {last}")
        return self._array(tensor, first * math.prod(rest), (last - first + 1, *rest))

    def first_entries(self, tensor: str, row: int, count: int) -> NDArray[Any]:
        """The first `count` entries of a row along the second axis."""
        _, columns, *rest = self.shape(tensor)
        return self._array(tensor, row * columns * math.prod(rest), (min(count, columns), *rest))

    def all(self, tensor: str) -> NDArray[Any]:
        """A whole tensor."""
        return self._array(tensor, 0, self.shape(tensor))

    def _entry(self, tensor: str) -> dict[str, Any]:
        if tensor not in self._entries:
            raise InvalidInput(f"{self._name} has no tensor {tensor!r}; it has {', '.join(sorted(self._entries))}")
        return self._entries[tensor]

    def _array(self, tensor: str, first: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """As many elements as `shape` takes, from element `first` of a tensor."""
        entry = self._entry(tensor)
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        length = math.prod(shape) * dtype.itemsize
        content = self._read(self._begin + entry["data_offsets"][0] + first * dtype.itemsize, length) if length else b""
        if len(content) != length:
            raise InvalidInput(f"{self._name} ends within tensor {tensor}")
        return np.ndarray(shape, dtype, content)


def local_tensors(path: Path) -> Tensors:
    """The tensors of a local file, which is open only while it is read: there may be more files than a process may have
    open."""

    def read(offset: int, length: int) -> bytes:
        with path.open("rb") as file:
            # No more than there is: memory for what is asked for is taken before it is read.
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), min(length, max(0, size - offset)), offset)

    return Tensors(read, path.name)


def stored_tensors(blobs: Blobs, ref: ObjectRef) -> Tensors:
    """The tensors of an object, each part by one ranged get. Parts are not verified: only a whole object can be."""

    def read(offset: int, length: int) -> bytes:
        return blobs.get_range(ref.bucket, ref.key, offset, min(length, max(0, ref.size - offset)))

    return Tensors(read, f"object {ref.bucket}/{ref.key}")
