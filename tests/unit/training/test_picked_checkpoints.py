"""Which checkpoint of a run a plan takes."""

import pytest
from pydantic import ValidationError

from services.common.errors import NotFound
from services.training.events import pick_checkpoint
from services.training.schemas import PlanNetwork
from services.training.tables import RunRow


def ref(name: str) -> dict[str, object]:
    """A reference that can be told from others."""
    return {"bucket": "training", "key": name, "sha256": "0" * 64, "size": 1}


@pytest.fixture
def run() -> RunRow:
    row = RunRow(run_id="run-1", checkpoint=ref("best"), best_checkpoint=ref("best"), last_checkpoint=ref("last"))
    row.checkpoints = [{"epoch": 5, "checkpoint": ref("fifth")}, {"epoch": 10, "checkpoint": ref("tenth")}]
    return row


@pytest.mark.parametrize(
    ("wish", "key"),
    [("", "best"), ("best", "best"), ("last", "last"), ("5", "fifth"), ("10", "tenth"), ("005", "fifth")],
)
def test_a_checkpoint_is_picked_by_name(run: RunRow, wish: str, key: str) -> None:
    """Best, last, a kept epoch by its number; none named is the one that the settings keep."""
    picked = pick_checkpoint(run, wish)
    assert picked is not None and picked["key"] == key


def test_a_checkpoint_that_was_not_kept_is_named(run: RunRow) -> None:
    """The error says which there are."""
    with pytest.raises(NotFound, match=r"no checkpoint '7'; it keeps best, last, 5, 10"):
        pick_checkpoint(run, "7")


@pytest.mark.parametrize("network", [{"checkpoint": "best"}, {"run_id": "run-1", "checkpoint": "newest"}])
def test_a_wish_without_a_run_or_meaning_is_refused(network: dict[str, str]) -> None:
    """A checkpoint is of a run, and has one of three names."""
    with pytest.raises(ValidationError, match="checkpoint"):
        PlanNetwork.model_validate(network)
