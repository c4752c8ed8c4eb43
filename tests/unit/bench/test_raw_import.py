"""The bench of imports."""

import shutil
from pathlib import Path

import pytest

from bench import raw_import
from bench.raw_import import Options, bench_import


def test_every_copy_is_imported_and_compared_with_the_decoder() -> None:
    """Both rates count the same pixels; each import has a ratio of its own."""
    figures = bench_import(Options(copies=2, repeats=1, files=1))
    assert figures["mammograms"] == 2
    assert figures["ours_mp_per_s"] > 0 and figures["floor_mp_per_s"] > 0
    assert figures["ratios"] == [figures["ratio"]]
    assert figures["peak_mb"] > 0


def test_a_copy_that_is_not_imported_fails_the_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise an import that drops mammograms would be fast."""
    folder = tmp_path / "raw"
    raw_import._copies(folder, 1, 1)
    [only] = folder.glob("*.dcm")
    shutil.copy(only, folder / "twice.dcm")
    with pytest.raises(RuntimeError, match=r"1 mammograms were imported.*occurs twice"):
        raw_import._import(folder, tmp_path / "store", 1)
