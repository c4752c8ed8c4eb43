"""The progress of a merge."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from services.activation_extraction import merge_progress
from services.activation_extraction.merge_progress import MergeProgress
from tests.fakes.data import RecordingJob, SilentJob
from tests.unit.activation_extraction.test_extract import Stored


def test_a_merge_reports_within_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge repeats its newest progress while it fetches, reads and stores. It reports only once at the beginning and
    once per layer if all that takes less than HEARTBEAT_S."""
    stored, layers = Stored(tmp_path, "alexnet", 96, shard_patches=10), ["conv1", "conv5"]
    quick, long = RecordingJob(), RecordingJob()
    monkeypatch.setattr(merge_progress, "HEARTBEAT_S", 3600.0)
    stored.run(layers, job=quick)
    assert quick.done == [0, 1, 2]
    monkeypatch.setattr(merge_progress, "HEARTBEAT_S", 0.0)
    stored.run(layers, job=long)
    shards, kinds = len(stored.data.shards("val")), 5
    assert long.done == sorted(long.done) and long.done[-1] == 2
    assert long.done.count(0) > shards + shards + kinds  # states, parts of maxima, and the stored results of a layer


def test_threads_of_a_merge_report_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads never report at the same time: the job's connection would mix their messages."""
    monkeypatch.setattr(merge_progress, "HEARTBEAT_S", 0.0)
    gate, meetings = threading.Barrier(2), []

    class Gated(SilentJob):
        def report(self, *_args: object, **_progress: object) -> None:
            """Wait for another report to begin."""
            with suppress(threading.BrokenBarrierError):
                meetings.append(gate.wait(0.2))

    progress = MergeProgress(Gated())  # type: ignore[arg-type]
    threads = [threading.Thread(target=progress.heartbeat) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meetings == []
