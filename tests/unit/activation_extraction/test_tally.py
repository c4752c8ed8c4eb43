"""What one pass over the patches records of a layer."""

import pytest
import torch

from services.activation_extraction.merge import merge_histogram, merge_sample
from services.activation_extraction.tally import LayerTally, TallyOptions, require_finite
from services.common.errors import InvalidInput
from tests.fakes.tensors import as_stored

MAPS = torch.randn(20, 4, 3, 5, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(100, 120)
SAMPLED = (103, 111, 119)


def tally(first: int, last: int, maps: torch.Tensor = MAPS) -> LayerTally:
    """The tally of some of the patches, in batches of 6."""
    result = LayerTally(TallyOptions(5, 7, frozenset(SAMPLED)))
    for part, ids in zip(maps[first:last].split(6), IDS[first:last].split(6), strict=True):
        result.add(part, ids)
    return result


def test_the_sample_is_recorded_for_all_units() -> None:
    """The maps and maxima of the sample patches are merged by patch id, in whichever shard they are."""
    uncut = merge_sample([as_stored(tally(0, 20).state_dict(), "l/")], "l")
    assert uncut["ids"].tolist() == list(SAMPLED)
    rows = torch.tensor(SAMPLED) - 100
    assert torch.equal(uncut["maps"], MAPS[rows].half().transpose(0, 1))
    assert torch.equal(uncut["values"], MAPS[rows].amax((2, 3)).T)
    parts = [
        as_stored(tally(first, last).state_dict(), "l/") for first, last in ((12, 20), (4, 12), (0, 4), (4, 4))[:3]
    ]
    merged = merge_sample(parts, "l")
    assert all(torch.equal(merged[name], uncut[name]) for name in uncut)


def test_a_shard_without_a_sampled_patch_merges() -> None:
    """A shard without a sample patch has empty tensors, which merge."""
    state = tally(4, 10).state_dict()
    assert state["sample_ids"].shape == (0,)
    assert merge_sample([as_stored(state, "l/")], "l")["maps"].shape == (4, 0, 3, 5)


def test_histograms_of_shards_add_up() -> None:
    """The counts of parts add up to the counts of all patches, in any order."""
    uncut = tally(0, 20).state_dict()["histogram"].numpy()
    parts = [as_stored(tally(first, last).state_dict(), "l/") for first, last in ((13, 20), (0, 13))]
    assert (merge_histogram(parts, "l") == uncut).all()
    assert uncut.sum() == 20 * 7 * 4


def test_the_matrix_has_all_maxima() -> None:
    """The matrix has a row for each patch, by rising id, in float16."""
    matrix = tally(0, 20).matrix()
    assert torch.equal(matrix["ids"], IDS)
    assert torch.equal(matrix["maxima"], MAPS.amax((2, 3)).half())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [(0, 0), (2, 3)])
def test_an_activation_that_is_not_finite_is_refused(bad: float, position: tuple[int, int]) -> None:
    """require_finite raises InvalidInput that names layer, unit and patch, for NaN or infinity anywhere in a map."""
    maps = MAPS.clone()
    maps[9, 2][position] = bad
    require_finite(maps[:9], IDS[:9], "conv5", "sample")
    with pytest.raises(InvalidInput, match=rf"layer conv5, unit 2: the activation on patch 109 of sample is {bad}"):
        require_finite(maps, IDS, "conv5", "sample")
