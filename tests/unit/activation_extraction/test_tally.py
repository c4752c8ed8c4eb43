"""What one pass keeps of a layer."""

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
    made = LayerTally(TallyOptions(5, 7, frozenset(SAMPLED)))
    for part, ids in zip(maps[first:last].split(6), IDS[first:last].split(6), strict=True):
        made.add(part, ids)
    return made


def test_the_sample_is_kept_of_all_units() -> None:
    """Maps and maxima of the sampled patches, whichever shard they lie in, come together by patch id."""
    whole = merge_sample([as_stored(tally(0, 20).state_dict(), "l/")], "l")
    assert whole["ids"].tolist() == list(SAMPLED)
    rows = torch.tensor(SAMPLED) - 100
    assert torch.equal(whole["maps"], MAPS[rows].half().transpose(0, 1))
    assert torch.equal(whole["values"], MAPS[rows].amax((2, 3)).T)
    parts = [
        as_stored(tally(first, last).state_dict(), "l/") for first, last in ((12, 20), (4, 12), (0, 4), (4, 4))[:3]
    ]
    merged = merge_sample(parts, "l")
    assert all(torch.equal(merged[name], whole[name]) for name in whole)


def test_a_shard_without_a_sampled_patch_merges() -> None:
    """Nothing of the sample in a shard is no fault."""
    state = tally(4, 10).state_dict()
    assert state["sample_ids"].shape == (0,)
    assert merge_sample([as_stored(state, "l/")], "l")["maps"].shape == (4, 0, 3, 5)


def test_histograms_of_shards_add_up() -> None:
    """The counts of parts, summed in any order, are those of the whole."""
    whole = tally(0, 20).state_dict()["histogram"].numpy()
    parts = [as_stored(tally(first, last).state_dict(), "l/") for first, last in ((13, 20), (0, 13))]
    assert (merge_histogram(parts, "l") == whole).all()
    assert whole.sum() == 20 * 7 * 4


def test_the_matrix_holds_all_maxima() -> None:
    """A row a patch, in the order they came, in float16."""
    matrix = tally(0, 20).matrix()
    assert torch.equal(matrix["ids"], IDS)
    assert torch.equal(matrix["maxima"], MAPS.amax((2, 3)).half())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [(0, 0), (2, 3)])
def test_what_is_no_number_is_named(bad: float, place: tuple[int, int]) -> None:
    """NaN or infinity anywhere in a map raises InvalidInput that names layer, unit and patch."""
    maps = MAPS.clone()
    maps[9, 2][place] = bad
    require_finite(maps[:9], IDS[:9], "conv5", "sample")
    with pytest.raises(InvalidInput, match=rf"layer conv5, unit 2: the activation on patch 109 of sample is {bad}"):
        require_finite(maps, IDS, "conv5", "sample")
