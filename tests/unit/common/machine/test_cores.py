"""The number of cores that a process may use."""

import os
from pathlib import Path

import pytest

from services.common.machine import cores
from services.common.machine.cores import limit_openmp, machine_cores, usable_cores


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", 64),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("12800000 100000", 64),
    ],
)
def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int) -> None:
    """A fraction of a core counts as one; a limit above the number of cores has no effect."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == machine_cores() == 64
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores() == expected
    assert machine_cores() == 64


@pytest.mark.parametrize(
    ("quota", "set_", "expected"),
    [("200000 100000", "", "2"), ("200000 100000", "5", "5"), ("max 100000", "", ""), ("6400000 100000", "", "")],
)
def test_torch_uses_no_more_threads_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, set_: str, expected: str
) -> None:
    """OMP_NUM_THREADS is set to the limit, if there is one, unless it is set already."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if set_:
        monkeypatch.setenv("OMP_NUM_THREADS", set_)
    limit_openmp()
    assert os.environ.get("OMP_NUM_THREADS", "") == expected
