"""The cost model against the simulation, and both against values computed by hand."""

from dataclasses import replace

import pytest

from deploy.scaling.constants import Constants
from deploy.scaling.model import (
    AS_IT_IS,
    CHANGED,
    Prices,
    Setup,
    cost_per_million,
    demands,
    line_s,
    merge_s,
    passes,
    saturates_at,
)
from deploy.scaling.simulation import simulate

CONSTANTS = Constants(
    patches_per_s=50.0, patch_bytes=1e4, state_bytes=1e6, maxima_bytes=600.0, merge_shard_s=0.02, merge_patch_s=1e-4,
    messages_per_s=400.0, transaction_s=0.002, row_bytes=500.0, count_row_s=1e-7, manifest_shard_s=3e-6,
    manifest_shard_bytes=230.0, sample_patch_s=2e-7, store_put_s=0.005, store_put_bytes_per_s=1e8,
    store_get_bytes_per_s=5e8, part_bytes_per_s=2e9,
)  # fmt: skip
SETUP = Setup(patches=4096 * 400, losses_per_worker_hour=0.0)
STORED = replace(CHANGED, shards_per_message=1)


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_without_a_saturated_part_the_simulation_equals_the_formula(workers: int) -> None:
    """simulate agrees with line_s when no worker waits for another: twice the workers take half the time."""
    setup = replace(SETUP, workers=workers)
    assert simulate(CONSTANTS, setup, STORED).shards_s == pytest.approx(line_s(CONSTANTS, setup, STORED), rel=0.03)


def test_a_saturated_part_bounds_the_rate() -> None:
    """With ten times the workers that saturate the record of the extraction, it is always busy and sets the rate."""
    slow = replace(CONSTANTS, transaction_s=0.5)
    full = saturates_at(slow, SETUP, STORED)["database"]
    setup = replace(SETUP, workers=round(10 * full))
    outcome = simulate(slow, setup, STORED)
    assert outcome.busy["database"] > 0.95
    assert outcome.shards_s == pytest.approx(400 * demands(slow, setup, STORED).database, rel=0.05)


def test_a_lost_worker_delays_and_loses_nothing() -> None:
    """Every message is handled once; the time grows by the repeated work and the waits."""
    calm = simulate(CONSTANTS, replace(SETUP, workers=4), STORED)
    rough = simulate(CONSTANTS, replace(SETUP, workers=4, losses_per_worker_hour=60.0), STORED)
    assert calm.losses == 0 < rough.losses
    assert calm.shards_s < rough.shards_s < 10 * calm.shards_s


def test_the_same_seed_gives_the_same_outcome() -> None:
    """simulate returns the same outcome for the same seed."""
    setup = replace(SETUP, workers=4, losses_per_worker_hour=60.0)
    assert simulate(CONSTANTS, setup, STORED) == simulate(CONSTANTS, setup, STORED)


def test_a_tree_of_merges_is_shared_by_the_workers() -> None:
    """400 states of 5 layers at 0.02 s take 40 s in one job, or 20 s with two layers at a time. A tree takes 13
    parallel merges of 32 states, then one merge of 13."""
    one = replace(CONSTANTS, merge_patch_s=0.0, maxima_bytes=0.0, state_bytes=0.0)
    setup = replace(SETUP, workers=13)
    assert merge_s(one, setup, AS_IT_IS) == pytest.approx(400 * 5 * 0.02 / 2)
    assert merge_s(one, setup, STORED) == pytest.approx((32 + 13) * 5 * 0.02)


def test_statistics_need_more_passes_for_more_patches() -> None:
    """passes returns 1 for few patches, and one pass per unit for many."""
    assert passes(replace(SETUP, patches=1000)) == 1
    assert passes(replace(SETUP, patches=10**9)) == 320


def test_a_million_patches_cost_what_the_hours_do() -> None:
    """Ten workers at 2 an hour, for an hour over two million patches, cost 10 per million."""
    setup = replace(SETUP, patches=2 * 10**6, workers=10)
    cost = cost_per_million(CONSTANTS, setup, AS_IT_IS, 3600, Prices(gpu_hour=2.0, server_hour=1.0))
    assert (cost["gpu"], cost["servers"]) == (10.0, 0.5)


def test_the_stored_constants_are_complete() -> None:
    """Constants.read returns the constants of the repository, each above 0."""
    assert all(value > 0 for value in vars(Constants.read()).values())
