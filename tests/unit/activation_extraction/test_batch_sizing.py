"""The size of batches, within a bound on memory."""

from pathlib import Path

import pytest

from services.activation_extraction import batch_sizing
from services.activation_extraction.batch_sizing import BatchSizing
from tests.unit.activation_extraction.test_extract import CPU, Stored

MB = 1 << 20


@pytest.mark.parametrize(
    ("step", "requested", "threads", "expected"),
    [
        (6 * MB, 32, 2, (32, 2)),
        (6 * MB, 32, 1, (32, 1)),
        (6 * MB, 5, 2, (5, 2)),
        (26 * MB, 32, 2, (7, 2)),
        (400 * MB, 32, 8, (1, 1)),
        (250 * MB, 32, 8, (1, 2)),
        (MB, 32, 16, (32, 4)),
        (MB, 32, 6, (32, 3)),
        (MB, 32, 7, (32, 3)),
        (MB, 32, 5, (32, 4)),
    ],
)
def test_batches_on_a_cpu_stay_within_memory(
    step: int, requested: int, threads: int, expected: tuple[int, int]
) -> None:
    """A batch has at least one patch and at most the requested number. Threads are idle only if memory or their number
    requires it."""
    sizing = BatchSizing.within("cpu", requested, step, threads)
    assert (sizing.batch_size, sizing.at_once) == expected


@pytest.mark.parametrize(
    ("step", "requested", "expected"),
    [(6 * MB, 32, 256), (6 * MB, 600, 341), (6 * MB, 300, 300), (26 * MB, 4, 78), (4096 * MB, 32, 1)],
)
def test_batches_on_a_gpu_are_larger(step: int, requested: int, expected: int) -> None:
    """A batch has enough patches to keep the GPU busy, or more if requested, within the GPU's memory. Only one batch
    runs at a time."""
    assert BatchSizing.within("cuda", requested, step, 16) == BatchSizing(expected, 1)


def test_memory_is_measured_at_the_largest_module(tmp_path: Path) -> None:
    """The largest step is the ReLU behind resnet18's first convolution, at 64 pixels, whichever layers are
    extracted."""
    stored = Stored(tmp_path, "resnet18", 64)
    step = batch_sizing._largest_step(stored.network, CPU, stored.manifest.preprocessing)
    assert step == 2 * 64 * 32 * 32 * 4
    assert not any(one._forward_hooks for one in stored.network.modules())
