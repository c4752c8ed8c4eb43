"""Which checkpoint of a run a plan takes."""

import pytest
from pydantic import ValidationError

from services.common.errors import Conflict, NotFound
from services.training.checkpoints import choose_checkpoint
from services.training.schemas import PlanNetwork, RunView


def ref(name: str) -> dict[str, object]:
    """A reference that can be told from others."""
    return {"bucket": "training", "key": name, "sha256": "0" * 64, "size": 1}


@pytest.fixture
def run() -> RunView:
    kept = [{"epoch": epoch, "checkpoint": ref(key)} for epoch, key in ((5, "fifth"), (10, "tenth"))]
    return RunView.model_validate(
        {
            "run_id": "run-1", "plan_id": "", "dataset_id": "dataset-1", "settings": {}, "state": "completed",
            "error": "", "progress": {}, "epochs": [], "checkpoint": ref("best"), "best_checkpoint": ref("best"),
            "last_checkpoint": ref("last"), "checkpoints": kept, "created": "", "started": "", "finished": "",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "key"), [("", "best"), ("best", "best"), ("last", "last"), ("5", "fifth"), ("10", "tenth")]
)
def test_a_checkpoint_is_picked_by_name(run: RunView, options: str, key: str) -> None:
    """Best, last, a kept epoch by its number; none named is the one that the settings keep."""
    assert choose_checkpoint(run, options).key == key


def test_a_checkpoint_that_was_not_kept_is_named(run: RunView) -> None:
    """The error says which there are."""
    with pytest.raises(NotFound, match=r"no checkpoint '7'; it has best, last, 5, 10"):
        choose_checkpoint(run, "7")


def test_a_run_that_ended_badly_has_none(run: RunView) -> None:
    """Its checkpoints are the collector's."""
    with pytest.raises(Conflict, match="is cancelled"):
        choose_checkpoint(run.model_copy(update={"state": "cancelled"}), "last")


@pytest.mark.parametrize("network", [{"checkpoint": "best"}, {"run_id": "run-1", "checkpoint": "newest"}])
def test_a_wish_without_a_run_or_meaning_is_refused(network: dict[str, str]) -> None:
    """A checkpoint is of a run, and has one of three names."""
    with pytest.raises(ValidationError, match="checkpoint"):
        PlanNetwork.model_validate(network)
