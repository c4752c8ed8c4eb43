"""Parts of safetensors files, compared with the full files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from services.common.blobs import FolderBlobs
from services.common.errors import InvalidInput
from services.imaging.tensors import HEADER_GUESS, Tensors, local_tensors, stored_tensors

DTYPES = (np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.uint16)


@st.composite
def files(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Some tensors of any dtype, of two to four axes; sometimes a header that is longer than the first read."""
    names = draw(st.lists(st.text("abc.", min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tensors = {}
    for name in names:
        shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
        tensors[name] = rng.integers(0, 200, shape).astype(draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):
        tensors |= {f"{number:0100}": np.zeros((1, 1), np.uint8) for number in range(HEADER_GUESS // 100)}
    return tensors


@settings(max_examples=60, deadline=None)
@given(files(), st.data())
def test_parts_equal_the_full_tensors(tensors: dict[str, np.ndarray], data: st.DataObject) -> None:
    """Rows, first entries and full tensors equal what was saved, and only the requested bytes are read."""
    content = save(tensors)
    read: list[int] = []

    def ranged(offset: int, length: int) -> bytes:
        read.append(length)
        return content[offset : offset + length]

    file = Tensors(ranged, "a file")
    name = data.draw(st.sampled_from(sorted(tensors)))
    expected = tensors[name]
    last = data.draw(st.integers(0, len(expected) - 1))
    first = data.draw(st.integers(0, last))
    read.clear()
    found = file.rows(name, first, last)
    np.testing.assert_array_equal(found, expected[first : last + 1])
    assert (found.dtype, read) == (expected.dtype, [found.nbytes])
    np.testing.assert_array_equal(file.all(name), expected)
    count = data.draw(st.integers(1, expected.shape[1]))
    np.testing.assert_array_equal(file.first_entries(name, last, count), expected[last, :count])


def test_an_object_and_a_file_are_read_alike(tmp_path: Path) -> None:
    """Ranged GETs and a local file give the same values. Errors name rows and tensors that do not exist."""
    content = save({"a": np.arange(12, dtype=np.int64).reshape(4, 3)})
    (tmp_path / "file").write_bytes(content)
    stored = stored_tensors((blobs := FolderBlobs(tmp_path / "blobs")), blobs.put("bucket", "key", content))
    for tensors in (local_tensors(tmp_path / "file"), stored):
        assert tensors.rows("a", 1, 2).tolist() == [[3, 4, 5], [6, 7, 8]]
        with pytest.raises(InvalidInput, match="has rows 0 to 3; requested 2 to 4"):
            tensors.rows("a", 2, 4)
        with pytest.raises(InvalidInput, match="has no tensor 'b'; it has a"):
            tensors.all("b")


def test_a_file_is_open_only_while_it_is_read(tmp_path: Path) -> None:
    """There can be more files than a process may have open: a large extraction has one per shard."""
    content = save({"a": np.arange(12, dtype=np.int64).reshape(4, 3)})
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = []
    for number in range(50):
        (tmp_path / str(number)).write_bytes(content)
        files.append(local_tensors(tmp_path / str(number)))
        assert files[-1].rows("a", 0, 0).tolist() == [[0, 1, 2]]
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 50


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    """InvalidInput describes other content and a truncated file."""
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(InvalidInput, match="object bucket/other is not a safetensors file"):
        stored_tensors(blobs, blobs.put("bucket", "other", b"\x04\0\0\0\0\0\0\0none"))
    content = save({"a": np.zeros((4, 100))})
    with pytest.raises(InvalidInput, match="ends within tensor a"):
        stored_tensors(blobs, blobs.put("bucket", "cut", content[:-8])).all("a")
