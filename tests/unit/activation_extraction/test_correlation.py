"""The matrix of maxima in parts, and what it says of units beside each other."""

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
    """A matrix in parts that end at `cuts`, the last part first."""
    blobs = FolderBlobs(folder / "blobs")
    (folder / "scratch").mkdir(parents=True)
    refs = []
    for number, (first, last) in enumerate(zip([0, *cuts], [*cuts, len(maxima)], strict=True)):
        part = {"ids": torch.arange(first, last), "maxima": torch.from_numpy(maxima[first:last]).half()}
        refs.append(blobs.put("activation-extraction", f"part-{number}", save(part)))
    return Matrices(blobs, refs[::-1], folder / "scratch")


@pytest.fixture
def maxima() -> np.ndarray:
    """Units 0 to 4 vary; 5 follows 2, 6 is the opposite of 0, 7 never changes."""
    values = np.random.default_rng(0).normal(size=(50, 5))
    values = np.column_stack([values, values[:, 2] * 3 + 1, -values[:, 0], np.full(50, 0.3)])
    return values.astype(np.float16)


def test_correlations_equal_numpys(tmp_path: Path, maxima: np.ndarray) -> None:
    """Pearson's, in any parts; a unit that never changes has 0 with all."""
    found = correlate(stored(tmp_path, maxima, [20, 33]))
    expected = np.corrcoef(maxima[:, :7].astype(np.float64).T)
    np.testing.assert_allclose(found[:7, :7], expected, atol=1e-12)
    assert not found[7].any() and not found[:, 7].any()


def test_parts_change_no_bit(tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows begin at the same rows however the matrix is cut, so sums are the same to the last bit."""
    monkeypatch.setattr(module, "BLOCK_ROWS", 8)
    whole = stored(tmp_path / "whole", maxima, [])
    cut = stored(tmp_path / "cut", maxima, [3, 19, 41])
    assert [len(block) for block in whole.blocks()] == [len(block) for block in cut.blocks()] == [8] * 6 + [2]
    assert np.array_equal(correlate(whole), correlate(cut))
    assert cut.ids.tolist() == list(range(50))


def test_pieces_are_all_columns(tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some columns at a time, all rows of them, by patch id."""
    monkeypatch.setattr(module, "PIECE_VALUES", 150)
    pieces = list(stored(tmp_path, maxima, [10, 30]).column_blocks())
    assert [first for first, _ in pieces] == [0, 3, 6]
    assert np.array_equal(np.concatenate([piece for _, piece in pieces], 1), maxima.astype(np.float32))


def test_each_part_is_read_once_for_all_pieces(
    tmp_path: Path, maxima: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pieces there are; of what was written for it nothing stays."""
    matrices = stored(tmp_path, maxima, [10, 30])
    before = set((tmp_path / "scratch").iterdir())
    reads: list[str] = []
    read_all = Tensors.all
    monkeypatch.setattr(Tensors, "all", lambda self, name: reads.append(name) or read_all(self, name))
    monkeypatch.setattr(module, "PIECE_VALUES", 50)
    assert len(list(matrices.column_blocks())) == 8
    assert reads == ["maxima"] * 3
    assert set((tmp_path / "scratch").iterdir()) == before


def test_a_piece_holds_no_more_than_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is that of some columns and one part, not that of all parts."""
    maxima = np.zeros((4000, 200), np.float16)
    monkeypatch.setattr(module, "PIECE_VALUES", 4000 * 5)
    matrices = stored(tmp_path, maxima, list(range(200, 4000, 200)))
    tracemalloc.start()
    try:
        assert sum(piece.shape[1] for _, piece in matrices.column_blocks()) == 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < maxima.nbytes / 2


def test_similar_units_and_duplicates(tmp_path: Path, maxima: np.ndarray) -> None:
    """The most correlated come first, itself and what it opposes never; the later of two that go together is the
    near-duplicate; a unit that never changes is like no other."""
    found = similarities(correlate(stored(tmp_path, maxima, [])))
    assert found[2].units[0] == 5 and found[5].units[0] == 2
    assert (found[2].duplicate_of, found[5].duplicate_of) == (None, 2)
    assert 6 not in found[0].units and 0 not in found[0].units
    assert found[0].correlations == sorted(found[0].correlations, reverse=True)
    assert (found[7].units, found[7].duplicate_of) == ([], None)


def test_near_duplicates_know_of_each_other() -> None:
    """Of three units of which the first two and the last two go together, each tells its own; what is stored in float16
    says the same."""
    correlation = np.array([[1, 0.96, 0.9], [0.96, 1, 0.95], [0.9, 0.95, 1]])
    for rows in (correlation, correlation.astype(np.float16)):
        assert [near_duplicates(row, unit) for unit, row in enumerate(rows)] == [[1], [0, 2], [1]]
    assert [found.duplicate_of for found in similarities(correlation)] == [None, 0, 1]
