"""The matrix of maxima in parts, and the similarity of its units."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from services.activation_extraction import matrices as module
from services.activation_extraction.correlation import correlate, near_duplicates, similarities
from services.activation_extraction.matrices import Matrices
from services.common.blobs import FolderBlobs
from services.imaging.tensors import Tensors


def stored(folder: Path, maxima: np.ndarray, cuts: list[int]) -> Matrices:
    """Store a matrix in parts that end at `cuts`, and open them with the last part first."""
    blobs = FolderBlobs(folder / "blobs")
    (folder / "scratch").mkdir(parents=True)
    refs = []
    for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(maxima)], strict=True)):
        part = {"ids": torch.arange(first, last), "maxima": torch.from_numpy(maxima[first:last]).half()}
        refs.append(blobs.put("activation-extraction", f"part-{number}", save(part)))
    return Matrices(blobs, refs[::-1], folder / "scratch")


@pytest.fixture
def maxima() -> np.ndarray:
    """Units 0 to 4 vary independently; unit 5 depends on 2, unit 6 is the opposite of 0, and unit 7 never changes."""
    values = np.random.default_rng(0).normal(size=(50, 5))
    values = np.column_stack([values, values[:, 2] * 3 + 1, -values[:, 0], np.full(50, 0.3)])
    return values.astype(np.float16)


def test_correlations_equal_numpys(tmp_path: Path, maxima: np.ndarray) -> None:
    """correlate returns Pearson correlations for any parts. A unit that never changes has 0 with all."""
    found = correlate(stored(tmp_path, maxima, [20, 33]))
    expected = np.corrcoef(maxima[:, :7].astype(np.float64).T)
    np.testing.assert_allclose(found[:7, :7], expected, atol=1e-12)
    assert not found[7].any() and not found[:, 7].any()


def test_parts_change_no_bit(tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks do not depend on how the matrix is cut, so sums are the same to the last bit."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 8)
    uncut = stored(tmp_path / "uncut", maxima, [])
    cut = stored(tmp_path / "cut", maxima, [3, 19, 41])
    assert [len(block) for block in uncut.blocks()] == [len(block) for block in cut.blocks()] == [8] * 6 + [2]
    assert np.array_equal(correlate(uncut), correlate(cut))
    assert cut.ids.tolist() == list(range(50))


def test_column_blocks_are_all_columns(tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block has some columns with all rows, by patch id."""
    monkeypatch.setattr(module, "PIECE_VALUES", 150)
    blocks = list(stored(tmp_path, maxima, [10, 30]).column_blocks())
    assert [first for first, _ in blocks] == [0, 3, 6]
    assert np.array_equal(np.concatenate([block for _, block in blocks], 1), maxima.astype(np.float32))


def test_each_part_is_read_once_for_all_column_blocks(
    tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of blocks does not matter, and no temporary file is left."""
    matrices = stored(tmp_path, maxima, [10, 30])
    before = set((tmp_path / "scratch").iterdir())
    reads: list[str] = []
    read_all = Tensors.all
    monkeypatch.setattr(Tensors, "all", lambda self, name: reads.append(name) or read_all(self, name))
    monkeypatch.setattr(module, "PIECE_VALUES", 50)
    assert len(list(matrices.column_blocks())) == 8
    assert reads == ["maxima"] * 3
    assert set((tmp_path / "scratch").iterdir()) == before


def test_a_column_block_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is that of some columns and one part, not of all parts."""
    maxima = np.zeros((4000, 200), np.float16)
    monkeypatch.setattr(module, "PIECE_VALUES", 4000 * 5)
    matrices = stored(tmp_path, maxima, list(range(200, 4000, 200)))
    tracemalloc.start()
    try:
        assert sum(block.shape[1] for _, block in matrices.column_blocks()) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < maxima.nbytes / 2


def test_similar_units_and_duplicates(tmp_path: Path, maxima: np.ndarray) -> None:
    """Similar units are sorted by correlation, without the unit itself and its opposite. The later of two
    near-duplicates names the earlier one. A unit that never changes is similar to none."""
    found = similarities(correlate(stored(tmp_path, maxima, [])))
    assert found[2].units[0] == 5 and found[5].units[0] == 2
    assert (found[2].duplicate_of, found[5].duplicate_of) == (None, 2)
    assert 6 not in found[0].units and 0 not in found[0].units
    assert found[0].correlations == sorted(found[0].correlations, reverse=True)
    assert (found[7].units, found[7].duplicate_of) == ([], None)


def test_near_duplicates_are_mutual() -> None:
    """If the first two and the last two of three units are near-duplicates, each unit lists its own. The rows in
    float16, as they are stored, lead to the same lists."""
    correlation = np.array([[1, 0.96, 0.9], [0.96, 1, 0.95], [0.9, 0.95, 1]])
    for rows in (correlation, correlation.astype(np.float16)):
        assert [near_duplicates(row, unit) for unit, row in enumerate(rows)] == [[1], [0, 2], [1]]
    assert [found.duplicate_of for found in similarities(correlation)] == [None, 0, 1]
