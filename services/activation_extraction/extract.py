"""Extraction: one forward per patch, for all layers."""

from collections.abc import Callable, Iterator

from services.activation_extraction.batch_runner import BatchRunner, run_batches
from services.activation_extraction.tally import LayerTally, TallyOptions
from services.imaging.preprocessing import Batch


def extract(
    runner: BatchRunner,
    batches: Iterator[Batch],
    options: TallyOptions,
    on_patches: Callable[[int], None] = lambda _done: None,
    at_once: int = 1,
) -> dict[str, LayerTally]:
    """Run every batch through the network once, and return a tally for each layer of the runner.

    `at_once` batches run in parallel: on a CPU, two forwards with one thread each take less time than two forwards with
    two threads each, one after the other. `on_patches` receives the number of patches that are done. InvalidInput names
    the layer and the patch of an activation that is NaN or infinite.
    """
    tallies = {name: LayerTally(options) for name in runner.layers}
    done = 0
    with run_batches(runner, batches, tallies, at_once) as finished:
        for patches in finished:
            done += patches
            on_patches(done)
    return tallies
